"""What a table costs: rounds that stop when they are tight, beside a fixed number, beside HAT's way.

    python -m benchmarks.table_cost [--space g2p] [--rounds 200] [--half-width 0.02] [--models 20] [--hat-models 20]
                                    [--neighbour] [--out runs/table_cost] [--json]

Profiles the space with whole models to calibrate and to check on, and tells the time it took, how
many operators converged, and what it would have taken had every operator been given as many rounds as
the one that needed most (each at what its own visits took, from the same journal). With ``--neighbour`` a
process comes and goes on the second core meanwhile, as in ``benchmarks.test_retest``. ``--hat-models 0``
leaves HAT's protocol out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hat_protocol import extrapolate
from benchmarks.neighbour import neighbour
from hwnas.families import get_family
from hwnas.profiling import journal_of, profile_space
from hwnas.sampling import Sampling
from hwnas.spaces import load_space
from latency_luts import OperatorSpec
from latency_luts.rows import DISPATCH
from profiler import load_devices, read_journal
from profiler.journal import parse_lines


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds that visits to operators took, and that they would have taken at a fixed count of good rounds.

    ``measuring_s`` is all measuring: whole models, reference workloads and what a round takes beside.
    """

    adaptive_s: float
    fixed_s: float
    most_rounds: int
    slowest: str
    measuring_s: float

    @property
    def share(self) -> float:
        """Of the operators' visits alone."""
        return self.adaptive_s / self.fixed_s

    @property
    def whole_share(self) -> float:
        """Of all measuring, had only the operators' visits been more."""
        return self.measuring_s / (self.measuring_s - self.adaptive_s + self.fixed_s)


def spent_on_operators(journal: Path) -> Spent:
    """From what every visit took; a quarantined round costs, but is none of those that were needed."""
    records, _ = parse_lines(journal.read_bytes(), journal)
    operators = {item["name"] for item in records[0]["items"] if item["role"] == "operator"}
    seconds: Counter[str] = Counter()
    visits: Counter[str] = Counter()
    for record in records:
        if record.get("kind") == "sample" and record["item"] in operators - {str(DISPATCH)}:
            seconds[record["item"]] += record["took_s"]
            visits[record["item"]] += 1
    content = read_journal(journal)
    good = {name: len(found.used_rounds) for (_, name), found in content.measurements.items() if name in visits}
    slowest = max(good, key=lambda name: good[name])
    most = good[slowest]
    fixed_s = sum(most * seconds[name] / max(1, good[name]) for name in visits)
    return Spent(sum(seconds.values()), fixed_s, most, slowest, content.elapsed_s)


def main() -> None:
    """Profile, and print the costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="g2p")
    parser.add_argument("--rounds", type=int, default=200, help="the most rounds of an operator")
    parser.add_argument("--half-width", type=float, default=0.02)
    parser.add_argument("--models", type=int, default=20, help="whole models to check on")
    parser.add_argument("--calibration", type=int, default=10)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--memory-limit-mib", type=int, default=8192)
    parser.add_argument("--hat-models", type=int, default=20)
    parser.add_argument("--neighbour", action="store_true")
    parser.add_argument("--device", default="x86")
    parser.add_argument("--out", type=Path, default=Path("runs/table_cost"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    space = load_space(given.space)
    family, device = get_family(space.family), load_devices().get(given.device)
    sampling = Sampling(
        rounds=given.rounds,
        samples=given.samples,
        calibration=given.calibration,
        check=given.models,
        half_width=given.half_width,
        memory_limit_mib=given.memory_limit_mib,
    )
    given.out.mkdir(parents=True, exist_ok=True)
    out = given.out / f"{space.name}.lut.jsonl"
    fresh, began = not journal_of(out).exists(), time.monotonic()
    with neighbour(core=1) if given.neighbour else nullcontext():
        lut = profile_space(space, family, space.workload, device, out, sampling)
    took_s = time.monotonic() - began
    assert lut.calibration is not None
    check = lut.calibration.evaluate(lut.models_of("check"))
    spent = spent_on_operators(journal_of(out))
    told: dict[str, object] = {
        "space": space.name,
        "operators": len(lut.rows),
        "status": dict(Counter(row.status for row in lut.rows.values())),
        "seconds": took_s if fresh else None,
        "operators_s": spent.adaptive_s,
        "fixed_s": spent.fixed_s,
        "most_rounds": spent.most_rounds,
        "slowest": spent.slowest,
        "share": spent.share,
        "measuring_s": spent.measuring_s,
        "whole_share": spent.whole_share,
        "check": check.as_dict(),
    }
    if given.hat_models:
        told["hat"] = extrapolate(space.name, given.hat_models, 2000)
    if given.json:
        print(json.dumps(told))
        return
    print(f"{space.name}: {len(lut.rows)} operators, {given.calibration + given.models} whole models: {told['status']}")
    print(f"  the whole table, exports and models included: {took_s:.0f} s" + ("" if fresh else " (continued a run)"))
    print(
        f"  visits to operators {spent.adaptive_s:.1f} s; with {spent.most_rounds} rounds each, as many as"
        f" {OperatorSpec.parse(spent.slowest).kind} needed, {spent.fixed_s:.1f} s: {spent.share:.2f} of that"
    )
    print(
        f"  all measuring, whole models and reference workloads included: {spent.measuring_s:.1f} s,"
        f" {spent.whole_share:.2f} of what it would be then"
    )
    print(
        f"  {check.models} fresh models: mean error {check.mape:.2%}, worst {check.worst:.1%},"
        f" Spearman {check.spearman:.3f}, split-half floor {check.split_half_floor:.2%}"
    )
    if isinstance(hat := told.get("hat"), dict):
        print(
            f"  HAT's protocol: {hat['seconds_per_model']:.2f} s a model ({given.hat_models} taken),"
            f" {hat['hours_extrapolated']:.2f} h for 2,000"
        )


if __name__ == "__main__":
    main()
