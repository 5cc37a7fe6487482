"""Do prediction intervals hold, and limits with them? Tested against fresh whole-model measurements.

    python -m benchmarks.intervals [--out runs/intervals] [--space g2p] [--device x86] [--fresh 200]
                                   [--accepted 200] [--calibration 20] [--check 20] [--json]

First a table is made, as `hwnas profile` does. Then, in a run of its own, whole models are measured that
the table has never seen: random ones, for the coverage and the width of its 95 % intervals, and such
as a search at 0.95 confidence accepts within 10 % below a limit (four limits, spread over the space),
for the share that breaks it. Met is: coverage within three binomial standard errors of 95 %, a mean
half-width of at most 5 %, and a share of broken limits whose 95 % lower bound (Clopper and Pearson) is
at most 5 %. They are told at the table's level of the device, as `hwnas profile --anchor` does; what holds at the
day's own is said beside it. Run again it goes on where it stopped; what is in ``--out`` is not measured again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from exporters.onnx import OnnxExporter
from hwnas.families import get_family
from hwnas.families.base import Family
from hwnas.files import artifact_cache
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits
from hwnas.profiling import build_plan, open_for, profile_space, run_plan, target_of
from hwnas.sampling import Sampling
from hwnas.space import Candidate, SearchSpace
from hwnas.spaces import load_space
from latency_luts import LatencyLut
from profiler import Device, load_devices

CONFIDENCE = 0.95
BELOW = 0.10
LIMITS = (0.2, 0.4, 0.6, 0.8)
"""Where the limits stand among the predictions of random candidates."""
MOST_HALF_WIDTH, MOST_BROKEN = 0.05, 0.05
_DRAWS = 4000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A candidate that a search below ``limit_ms`` accepts."""

    candidate: Candidate
    limit_ms: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Shares and bounds are fractions; ``half_width`` is a share of the measured latency."""

    fresh: int
    inside: int
    coverage: float
    least_coverage: float
    most_coverage: float
    half_width: float
    mean_error: float
    accepted: int
    broken: int
    broken_share: float
    broken_lower_bound: float
    worst_excess: float

    @property
    def met(self) -> Mapping[str, bool]:
        """Which of what is asked is met."""
        return {
            "coverage": self.least_coverage <= self.coverage <= self.most_coverage,
            "half_width": self.half_width <= MOST_HALF_WIDTH,
            "limit": self.broken_lower_bound <= MOST_BROKEN,
        }


def fresh_candidates(space: SearchSpace, lut: LatencyLut, count: int) -> list[Candidate]:
    """Random candidates that the table has not measured, all different."""
    rng = random.Random("fresh")
    seen = {space.candidate(model.candidate) for model in lut.models}
    found: dict[Candidate, None] = {}
    while len(found) < min(count, space.size() - len(seen)):
        candidate = space.sample(rng)
        if candidate not in seen:
            found[candidate] = None
    return list(found)


def accepted_candidates(
    space: SearchSpace, family: Family, latency: TableLatency, count: int, taken: Sequence[Candidate]
) -> list[Accepted]:
    """Candidates within 10 % below one of the limits that a search at 0.95 confidence accepts."""
    rng = random.Random("accepted")
    predicted = latency.latency_ms(space.encode_many(space.sample(rng) for _ in range(_DRAWS)))
    found: dict[Candidate, float] = {}
    for number, limit_ms in enumerate(np.quantile(predicted, LIMITS).tolist(), start=1):
        limits = CandidateLimits(space, family, latency.workload, latency, limit_ms, confidence=CONFIDENCE)
        wanted, draws = round(count * number / len(LIMITS)), 0
        while len(found) < wanted and draws < 100 * _DRAWS:
            drawn = [space.sample(rng) for _ in range(500)]
            draws += len(drawn)
            genes = space.encode_many(drawn)
            near = limits.allows(genes) & (latency.latency_ms(genes) > (1 - BELOW) * limit_ms)
            for candidate, ok in zip(drawn, near, strict=True):
                if ok and candidate not in taken and len(found) < wanted:
                    found.setdefault(candidate, limit_ms)
    return [Accepted(candidate, limit_ms) for candidate, limit_ms in found.items()]


def measure(
    space: SearchSpace,
    family: Family,
    device: Device,
    lut: LatencyLut,
    candidates: Sequence[Candidate],
    out: Path,
    sampling: Sampling,
    say: Say,
) -> tuple[dict[Candidate, float], float]:
    """Measured latency in ms of every candidate, by the same protocol as the table's whole models.

    They are told at the table's level of the device; the second is the factor that brought them there.
    """
    cache = artifact_cache()
    progress = _every_tenth(say)
    models = replace(sampling, calibration=0, check=0, extra=tuple(candidates))
    plan = build_plan(space, family, space.workload, models, OnnxExporter(), cache, progress, operators=())
    with open_for(device, say) as opener:
        target = target_of(opener)
        subject = {"space": space.name, "fingerprint": space.fingerprint}
        content = run_plan([opener], [target], plan, out, lut.workload, subject, progress, lut.anchor)
    drift = content.drift[str(target)]
    if drift.anchored is None:
        say(f"told at its own level, not the table's: {drift.unanchored}")
    latencies = {c: content.measured(target, c.key).latency_ms(target.clock) for c in candidates}
    return latencies, drift.anchored or 1.0


def judge(latency: TableLatency, fresh: Mapping[Candidate, float], accepted: Mapping[Accepted, float]) -> Verdict:
    """Compare what was predicted of each with what was measured, in ms."""
    from scipy.stats import beta

    genes = latency.space.encode_many(fresh)
    interval, predicted = latency.interval_ms(genes, CONFIDENCE), latency.latency_ms(genes)
    truth = np.array(list(fresh.values()))
    inside = int(np.sum((interval[:, 0] <= truth) & (truth <= interval[:, 1])))
    error = (CONFIDENCE * (1 - CONFIDENCE) / len(truth)) ** 0.5
    excess = np.array([measured_ms / entry.limit_ms - 1 for entry, measured_ms in accepted.items()])
    if not len(excess):
        raise SystemExit("the table accepts no candidate below any limit: nothing to judge; profile again")
    broken, number = int(np.sum(excess > 0)), len(excess)
    return Verdict(
        fresh=len(truth),
        inside=inside,
        coverage=inside / len(truth),
        least_coverage=CONFIDENCE - 3 * error,
        most_coverage=CONFIDENCE + 3 * error,
        half_width=float(np.mean((interval[:, 1] - interval[:, 0]) / 2 / truth)),
        mean_error=float(np.mean(np.abs(predicted / truth - 1))),
        accepted=number,
        broken=broken,
        broken_share=broken / number,
        broken_lower_bound=0.0 if not broken else float(beta.ppf(0.05, broken, number - broken + 1)),
        worst_excess=float(excess.max()),
    )


def run(
    space: SearchSpace, device: Device, out: Path, sampling: Sampling, fresh: int, accepted: int, say: Say
) -> tuple[Verdict, Verdict]:
    """Make the table, measure what it has never seen, and judge; resumes what ``out`` holds.

    Judged are latencies at the table's level of the device, and the same at the day's own.
    """
    family = get_family(space.family)
    say("the table")
    table = out / "table.lut.jsonl"
    progress = _every_tenth(say)
    lut = profile_space(
        space, family, space.workload, device, table, sampling, exporting=progress, measuring=progress, waiting=say
    )
    latency = TableLatency(space, family, lut)
    say(f"{fresh} models it has not seen, and {accepted} that it accepts below a limit")
    unseen = fresh_candidates(space, lut, fresh)
    near = accepted_candidates(space, family, latency, accepted, unseen)
    journal = out / "models.journal.jsonl"
    everything = [*unseen, *(entry.candidate for entry in near)]
    measured_ms, factor = measure(space, family, device, lut, everything, journal, sampling, say)
    at_its_level, at_its_own = (
        judge(
            latency,
            {c: measured_ms[c] * by for c in unseen},
            {entry: measured_ms[entry.candidate] * by for entry in near},
        )
        for by in (1.0, 1 / factor)
    )
    return at_its_level, at_its_own


def _every_tenth(say: Say) -> Callable[[int, int, str], None]:
    shown: list[str] = []

    def progress(done: int, total: int, note: str) -> None:
        line = f"  {100 * done // max(1, total) // 10 * 10} %"
        if shown[-1:] != [line]:
            shown.append(line)
            say(f"{line} {note}")

    return progress


def told(verdict: Verdict) -> str:
    """Figures beside what is asked of them."""
    met = {name: "met" if ok else "NOT MET" for name, ok in verdict.met.items()}
    least, most = verdict.least_coverage, min(1.0, verdict.most_coverage)
    return "\n".join(
        [
            f"95 % intervals hold {verdict.inside} of {verdict.fresh} fresh models: {verdict.coverage:.1%}"
            f" (asked: {least:.1%} to {most:.1%}): {met['coverage']}",
            f"mean half-width {verdict.half_width:.2%} (asked: at most {MOST_HALF_WIDTH:.0%}): {met['half_width']};"
            f" mean error of the predictions {verdict.mean_error:.2%}",
            f"of {verdict.accepted} candidates accepted within {BELOW:.0%} below a limit at 0.95 confidence"
            f" {verdict.broken} break it: {verdict.broken_share:.1%}, lower bound {verdict.broken_lower_bound:.1%}"
            f" (asked: at most {MOST_BROKEN:.0%}): {met['limit']}; worst {verdict.worst_excess:+.1%}",
        ]
    )


def main() -> None:
    """Exit 0 if everything is met, else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/intervals"))
    parser.add_argument("--space", default="g2p")
    parser.add_argument("--device", default="x86")
    parser.add_argument("--fresh", type=int, default=200)
    parser.add_argument("--accepted", type=int, default=200)
    parser.add_argument("--calibration", type=int, default=20)
    parser.add_argument("--check", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=Sampling().rounds)
    parser.add_argument("--min-rounds", type=int, default=Sampling().min_rounds)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    sampling = Sampling(
        rounds=given.rounds, min_rounds=given.min_rounds, calibration=given.calibration, check=given.check
    )
    began = time.monotonic()
    verdict, own = run(
        load_space(given.space),
        load_devices(None).get(given.device),
        given.out,
        sampling,
        given.fresh,
        given.accepted,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    if given.json:
        seconds = time.monotonic() - began
        print(json.dumps({**asdict(verdict), "met": dict(verdict.met), "own_level": asdict(own), "seconds": seconds}))
    else:
        print(told(verdict))
        print(
            f"at the day's own level: {own.coverage:.1%} inside, mean error {own.mean_error:.2%},"
            f" {own.broken_share:.1%} break their limit, the worst by {own.worst_excess:+.1%}"
        )
    raise SystemExit(0 if all(verdict.met.values()) else 1)


if __name__ == "__main__":
    main()
