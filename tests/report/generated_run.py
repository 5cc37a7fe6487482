"""A run as a search, a demo and an export leave it, made up in a second on the shipped table of the g2p space."""

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path

import latency_luts
from hwnas.candidates import write_candidate
from hwnas.families import get_family
from hwnas.finalists import Finalist
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits
from hwnas.search.evolution import Evolution, EvolutionSettings
from hwnas.search.identity import fingerprint_of
from hwnas.search.protocol import one_by_one
from hwnas.search.random_search import RandomSearch
from hwnas.search.run import run_search, search_header
from hwnas.spaces import load_space
from latency_luts import LatencyLut

SPACE = load_space("g2p")
FAMILY = get_family(SPACE.family)
TABLE = Path(latency_luts.__file__).parent / "tables" / "g2p_epyc_onnxruntime_1thread.jsonl"
LIMIT_MS = 0.32
SETTINGS = EvolutionSettings(population=20, parents=6, mutants=7, crossovers=7, iterations=5)


def loss_of(candidate):
    """A made-up loss: larger networks are better, and each has a whim of its own."""
    digest = hashlib.sha256(candidate.key.encode()).digest()
    return 0.24 + 2.0 / sum(value for _, value in candidate.entries) ** 0.7 + digest[0] / 255 * 0.02


def write_search(folder, table, method, *, confidence=0.95, seed=0, exclude=()):
    """Search for real, with the made-up loss, and write the journal; gives back what it found."""
    latency = TableLatency.from_lut(SPACE, FAMILY, table)
    limits = CandidateLimits(SPACE, FAMILY, latency.workload, latency, latency_ms=LIMIT_MS, confidence=confidence)
    searcher = (
        Evolution(SPACE, limits, SETTINGS, seed=seed)
        if method == "evolution"
        else RandomSearch(SPACE, limits, evaluations=SETTINGS.evaluations, exclude=exclude)
    )
    header = search_header(
        SPACE,
        searcher=method,
        settings=SETTINGS.as_dict(),
        seed=seed,
        limits=limits.describe(),
        evaluator="0123456789abcdef/fedcba/500 pairs",
        latency=fingerprint_of(table, bounded=confidence is not None),
    )
    return run_search(searcher, one_by_one(loss_of), SPACE, folder / "search.journal.jsonl", header=header)


def write_result(folder, table, result, method, *, measured=True, wins=True):
    """``search.json``, ``winner.yml`` and the head of the finalists' journal."""
    latency = TableLatency.from_lut(SPACE, FAMILY, table)
    rng = random.Random("measured")
    finalists = []
    for evaluation in sorted(result.evaluations, key=lambda e: e.loss)[:3]:
        predicted_ms = latency.of(evaluation.candidate)
        seen_ms = predicted_ms * rng.uniform(0.985, 1.015)
        finalists.append(
            Finalist(
                evaluation.candidate,
                evaluation.loss,
                predicted_ms,
                measured_ms=seen_ms if measured else None,
                interval_ms=(seen_ms * 0.994, seen_ms * 1.007) if measured else None,
                predicted_interval_ms=latency.interval_of(evaluation.candidate) if latency.bounded else None,
                peak_memory_mib=1.25,
                status="converged" if measured else None,
            ).as_dict()
        )
    document = {
        "method": method,
        "limits": f"latency <= {LIMIT_MS:g} ms",
        "searched": f"latency <= {LIMIT_MS:g} ms at 95 % confidence",
        "predictions": table.origin,
        "evaluations": len(result.evaluations),
        "finalists": finalists,
        "winner": finalists[0] if wins else None,
        "drift": 1.0123 if measured else None,
        "changed": ["kernel was 6.1, is 6.2"] if measured else [],
    }
    (folder / "search.json").write_text(json.dumps(document))
    if wins:
        write_candidate(folder / "winner.yml", SPACE, SPACE.candidate(finalists[0]["candidate"]))
    if measured:
        _write_finalists_journal(folder / "finalists.journal.jsonl", table)
    return document


def _write_finalists_journal(path, table):
    target = {name: getattr(table.target, name) for name in ("device", "runtime", "threads", "clock")}
    header = {
        "kind": "header",
        "targets": [target],
        "subject": {"space": SPACE.name, "fingerprint": SPACE.fingerprint},
        "plan": {"rounds": 40, "samples": 5, "min_sample_ms": 2.0, "seed": 0},
        "created": "2026-01-02T03:04:05+00:00",
        "schema": 2,
    }
    facts = {**table.environment["start"], "load_average": [0.125, 0.5, 0.75]}
    found = {"kind": "environment", "target": str(table.target), "at": "start", "fingerprint": "abc123", "facts": facts}
    path.write_text(json.dumps(header) + "\n" + json.dumps(found) + "\n")


def write_bundle(folder, table, winner, *, measured_ms=None):
    """The manifest of an export of the winner."""
    folder.mkdir()
    seen_ms = measured_ms or winner["measured_ms"] * 1.011
    manifest = {
        "schema": 1,
        "created": "2026-01-02T03:14:15Z",
        "space": {"name": SPACE.name, "fingerprint": SPACE.fingerprint},
        "architecture": winner["candidate"],
        "limit_ms": LIMIT_MS,
        "predicted_ms": winner["predicted_ms"],
        "predicted_for": str(table.target),
        "proof": {
            "target": str(table.target),
            "measured_ms": seen_ms,
            "interval_ms": [seen_ms * 0.99, seen_ms * 1.012],
            "rounds": 20,
            "status": "converged",
            "parity": {"encoder": {"max_abs_error": 1.6e-6, "tolerance": 5.2e-4}},
            "decoding": {"inputs": 500, "equal": 498, "near_ties": 2, "different": 0},
            "environment": {**table.environment["start"], "python": "3.12.1"},
        },
        "quality": {"loss": 0.2432, "per": 0.1005, "wer": 0.3966, "split": "test", "decoder": "greedy"},
        "deployments": {
            "pi4": {
                "at": "2026-01-03T03:14:15Z",
                "source": "measured",
                "target": "pi4/onnxruntime-1.22.0/threads=1/wall",
                "measured_ms": 1.25,
                "interval_ms": [1.24, 1.27],
                "rounds": 20,
                "environment": {**table.environment["start"], "cpu_model": None, "board": "Raspberry Pi 4"},
                "answers": {"asked": 20, "equal": 20, "different": []},
                "held": False,
            },
            "virt": {"source": "emulated", "target": "virt/onnxruntime-1.22.0", "answers": {"asked": 0}, "held": None},
        },
        "versions": {"hwnas": "0.1.0", "torch": "2.13.0"},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def write_run(folder):
    """A run in which nothing is missing: a table, two searches, a bundle, a profile of the winner."""
    folder.mkdir(parents=True, exist_ok=True)
    table = LatencyLut.load(TABLE)
    few = (*table.models_of("calibration"), *table.models_of("check")[:8])
    table = replace(table, models=few).calibrated()
    table.save(folder / "x86.lut.jsonl")
    found = write_search(folder, table, "evolution")
    document = write_result(folder, table, found, "evolution")
    (folder / "baseline").mkdir()
    rival = write_search(folder / "baseline", table, "random", exclude=[e.candidate for e in found.evaluations])
    write_result(folder / "baseline", table, rival, "random", measured=False)
    write_bundle(folder / "bundle", table, document["winner"])
    _write_honesty(folder, table, document, found, rival)
    explanation = {
        "candidate": document["winner"]["candidate"],
        "cross_check": {
            "rows": [
                {"operator": "encoder_ffn[embed=64]", "profile_ms": 0.0123},
                {"operator": "encoder_ffn[embed=96]", "profile_ms": 0.0023},
            ],
            "moved_share": 0.034,
            "primitives_ms": {"MatMul": 0.15, "Softmax": 0.05, "LayerNormalization": 0.02},
        },
    }
    (folder / "explain.json").write_text(json.dumps(explanation))
    return folder


def _write_honesty(folder, table, document, found, rival):
    """A second seed, what each came to beside random search, and a front of three objectives."""
    write_search(folder / "seed-1", table, "evolution", seed=1)
    losses = [min(e.loss for e in result.evaluations) for result in (found, rival)]
    told = [
        {
            "seeds": [
                {"seed": seed, "evaluations": 90, "best_loss": loss, "hypervolume": 0.9 - 0.1 * number}
                for seed in (0, 1)
            ]
        }
        for number, loss in enumerate(losses)
    ]
    for finalist in (*document["finalists"], document["winner"]):
        finalist["elsewhere_ms"] = {"npu": finalist["predicted_ms"] * 0.4}
    document |= {"record": told[0], "baseline": told[1]}
    (folder / "search.json").write_text(json.dumps(document))
    front = [
        {
            "candidate": finalist["candidate"],
            "objectives": {
                "loss": finalist["loss"],
                "latency_ms/x86": finalist["predicted_ms"],
                "latency_ms/npu": finalist["predicted_ms"] * 0.4,
            },
        }
        for finalist in document["finalists"]
    ]
    (folder / "front.json").write_text(json.dumps(front))
    learnt = {"expected": 0.317, "top_probability": {"encoder_embed": 0.99, "encoder_ffn.0": 0.93}}
    (folder / "gradient.json").write_text(json.dumps(learnt))


def write_estimated_table(path):
    """The shipped table, scaled and called an estimate, as of a simulated device."""
    lines = TABLE.read_text().splitlines()
    header = json.loads(lines[0])
    header |= {
        "target": {"device": "npu", "runtime": "ethos-u65-256", "threads": 1, "clock": "estimated"},
        "source": "estimated",
        "provenance": {"engine": "vela", "version": "4.2", "configuration": "u65", "fidelity": "cycle estimate"},
        "environment": {},
    }
    rows = [json.loads(line) for line in lines[1:]]
    for row in rows:
        row |= {"latency_ms": row["latency_ms"] * 0.4, "interval_ms": None, "status": None}
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, *rows)))
    return path
