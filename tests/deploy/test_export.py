"""A bundle says what was promised and proven, and a failed export leaves what was there."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exporters.artifact import sha256_of
from hwnas.deploy import export as exporting
from hwnas.deploy.bundle import replacing
from hwnas.deploy.runner import Bundle
from hwnas.deploy.verify import Comparison, DecodingReport, open_bundle
from hwnas.errors import DeployError, WorkloadError
from hwnas.evaluation import quality_of
from hwnas.families.base import Vocabularies
from profiler import read_journal
from tests.training.toy import FAMILY, SPACE


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def snapshot(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def old(greedy_bundle, tmp_path) -> Path:
    """A bundle alone in its folder."""
    folder = tmp_path / "runs" / "bundle"
    shutil.copytree(greedy_bundle, folder)
    return folder


def test_the_manifest_says_what_was_promised_and_proven(greedy_bundle, candidate, model, task) -> None:
    manifest = manifest_of(greedy_bundle)
    assert manifest["architecture"] == candidate.as_dict()
    assert manifest["space"] == {"name": "toy", "fingerprint": SPACE.fingerprint}
    assert manifest["task"] == {"name": "toy", "fingerprint": task.fingerprint, "metric": "per_wer"}
    assert manifest["workload"] == SPACE.workload.as_dict()
    assert (manifest["limit_ms"], manifest["predicted_ms"]) == (5.0, 1.0)
    assert manifest["predicted_for"] == "here/onnxruntime-1/threads=1/wall"
    assert {"hwnas", "python", "torch", "onnx", "onnxruntime", "numpy"} == set(manifest["versions"])
    assert all(manifest["versions"].values())

    proof = manifest["proof"]
    assert proof["target"].startswith("here/onnxruntime-")
    assert (proof["clock"], proof["threads"]) == ("thread_cpu", 1)
    assert 2 <= proof["rounds"] <= 4, "two, and again what was quarantined"
    low, high = proof["interval_ms"]
    assert 0 < low <= proof["measured_ms"] <= high
    assert proof["status"] in ("converged", "budget", "unstable")
    assert proof["environment"]["cpu_model"]
    assert proof["decoding"] == {
        "inputs": 25, "beam": 1, "equal": 25, "near_ties": 0, "different": 0, "examples": [],
        "parity_error": max(entry["max_abs_error"] for entry in proof["parity"].values()),
    }  # fmt: skip
    quality = quality_of(model, FAMILY, task, "test")
    assert manifest["quality"] == {**quality, "split": "test", "decoder": "greedy", "by": "PyTorch"}

    listed = {path.name for path in greedy_bundle.iterdir()} - {"manifest.json"}
    assert set(manifest["files"]) == listed
    for name, entry in manifest["files"].items():
        path = greedy_bundle / name
        assert entry == {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}


def test_the_tolerance_of_a_graph_follows_its_largest_reference_value(greedy_bundle) -> None:
    parity = manifest_of(greedy_bundle)["proof"]["parity"]
    assert set(parity) == {"encoder", "decoder_step"}
    for graph, entry in parity.items():
        with np.load(greedy_bundle / f"{graph}.onnx.npz") as reference:
            outputs = [reference[name] for name in reference.files if name.startswith("output/")]
        largest = max(float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) for values in outputs)
        assert entry["tolerance"] == pytest.approx(1e-4 * max(1.0, largest))
        assert 0 <= entry["max_abs_error"] <= entry["tolerance"]


def test_the_measured_latency_follows_from_the_samples_in_the_bundle(greedy_bundle) -> None:
    proof = manifest_of(greedy_bundle)["proof"]
    content = read_journal(greedy_bundle / "measured.journal.jsonl")
    ((key, measurement),) = content.measurements.items()
    assert key[0] == proof["target"]
    assert measurement.latency_ms("thread_cpu") == proof["measured_ms"]


def test_the_beam_stands_in_the_manifest(beam_bundle) -> None:
    manifest = manifest_of(beam_bundle)
    assert manifest["decoding"] == {"beam": 3, "length_penalty": 1.0}
    assert manifest["workload"]["beam"] == manifest["proof"]["decoding"]["beam"] == 3
    assert manifest["quality"]["decoder"] == "beam of 3"


def test_an_export_replaces_the_bundle_before_it(old, export) -> None:
    (old / "__pycache__").mkdir()
    before = manifest_of(old)
    written = export(old, beam=2, with_quality=False)
    assert manifest_of(old) == json.loads(json.dumps(written))
    assert before["workload"]["beam"] == 1
    assert Bundle(old).beam == 2
    assert written["quality"] is None
    assert [path.name for path in old.parent.iterdir()] == ["bundle"]


def interrupted(done: int, total: int, note: str) -> None:
    if done > total // 2:
        raise KeyboardInterrupt


def test_an_interrupted_export_leaves_the_old_bundle_alone(old, export) -> None:
    before = snapshot(old)
    with pytest.raises(KeyboardInterrupt):
        export(old, measuring=interrupted)
    assert snapshot(old) == before
    assert [path.name for path in old.parent.iterdir()] == ["bundle"]


def test_a_bundle_that_decodes_otherwise_is_not_written(old, export, monkeypatch) -> None:
    """The graphs are of one model, the decoding is compared with another's."""
    compare = exporting.compare_decoding
    torch.manual_seed(5)
    other = FAMILY.model(SPACE, SPACE.extreme(0), Vocabularies(9, 9))
    monkeypatch.setattr(exporting, "compare_decoding", lambda bundle, model, *rest: compare(bundle, other, *rest))
    before = snapshot(old)
    message = r"decodes \d+ of 25 inputs otherwise than PyTorch, e\.g\. \w+: '[^\n]*; it is not written$"
    with pytest.raises(DeployError, match=message):
        export(old, with_quality=False)
    assert snapshot(old) == before
    assert [path.name for path in old.parent.iterdir()] == ["bundle"]


def test_a_failing_graph_is_not_deployed(export, monkeypatch, tmp_path) -> None:
    """Parity is checked on the device: a graph that is not the module's ends the export."""
    from exporters.onnx import OnnxExporter
    from profiler import ParityError

    honest = OnnxExporter.export

    def lying(self, module, inputs, path, **kwargs):
        artifact = honest(self, module, inputs, path, **kwargs)
        with np.load(artifact.reference) as stored:
            tensors = {name: stored[name] + (name == "output/logits") for name in stored.files}
        np.savez(artifact.reference, **tensors)
        return artifact

    monkeypatch.setattr(OnnxExporter, "export", lying)
    with pytest.raises(ParityError, match=r"decoder_step\.onnx on here\S*: outputs differ from PyTorch's by 1"):
        export(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", [1, 2])
def test_ctrl_c_while_the_bundle_is_swapped(old, monkeypatch, moment) -> None:
    before, renames, rename = snapshot(old), 0, Path.rename

    def struck(self, target):
        nonlocal renames
        renames += 1
        if renames == moment:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", struck)
    with pytest.raises(KeyboardInterrupt), replacing(old) as folder:
        (folder / "manifest.json").write_text("{}")
    assert snapshot(old) == before
    assert [path.name for path in old.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("swapped", [False, True])
def test_what_a_killed_export_left_is_cleared(old, swapped) -> None:
    before = snapshot(old)
    if swapped:  # killed between putting the old one aside and moving the new one in
        old.rename(old.with_name(".bundle.previous"))
    else:
        shutil.copytree(old, old.with_name(".bundle.previous"))
    old.with_name(".bundle.partial").mkdir()
    with pytest.raises(ZeroDivisionError), replacing(old):
        raise ZeroDivisionError
    assert snapshot(old) == before
    assert [path.name for path in old.parent.iterdir()] == ["bundle"]


def test_only_a_bundle_is_replaced(old, export, tmp_path) -> None:
    file, folder, data = tmp_path / "file", tmp_path / "folder", tmp_path / "data"
    file.write_text("mine")
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    data.mkdir()
    (data / "manifest.json").write_text('{"schema": 1}')  # a task folder has one too
    for taken in (file, folder, data):
        with pytest.raises(DeployError, match=f"{taken} exists and is no bundle; choose another --out"):
            export(taken)
    (old / "notes.txt").write_text("mine")
    with pytest.raises(DeployError, match=r"holds 'notes\.txt', which is not of the bundle; move it"):
        export(old)
    (old / "notes.txt").unlink()
    (old / "manifest.json").write_text("{")
    with pytest.raises(DeployError, match=r"manifest\.json is damaged; remove .*, or choose another --out"):
        export(old)
    assert (folder / "thesis.txt").read_text() == file.read_text() == "mine"
    assert not list(tmp_path.rglob("*.partial"))


def test_another_number_of_symbols_is_refused(export, tmp_path) -> None:
    with pytest.raises(WorkloadError, match="has 30 output symbols, task 'toy' has 9; profile with --vocabulary 9"):
        export(tmp_path / "bundle", workload=replace(SPACE.workload, vocabulary=30))
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_few_positions_is_never_asked_for_more(export, task, tmp_path) -> None:
    space = replace(SPACE, fixed={**SPACE.fixed, "positions": 8})
    torch.manual_seed(3)
    untrained = FAMILY.model(space, space.extreme(0), Vocabularies(9, 9)).eval()
    manifest = export(tmp_path / "bundle", model=untrained)
    assert manifest["max_tokens"]["limit"] == 8
    bundle = open_bundle(tmp_path / "bundle")
    assert len(bundle.decode(task.source_vocabulary.encode("abcdeab"))) <= 8


def test_inputs_that_are_too_long_are_not_compared(model, task, greedy_bundle, monkeypatch) -> None:
    seen: list[str] = []

    def compare(bundle, model, task, sources, error):
        seen.extend(sources)
        return Comparison(DecodingReport(len(sources), 1, len(sources), 0, 0, error, ()), tuple(sources), (), ())

    monkeypatch.setattr(exporting, "compare_decoding", compare)
    texts = {"a" * 200: ("V",), "abc": ("V W X",)}
    long = replace(task, references={**task.references, "test": texts})
    exporting._decoded_alike(Bundle(greedy_bundle), model, long, 10, [0.0], "fp32", lambda message: None)
    assert seen == ["abc"]
