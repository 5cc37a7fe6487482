"""How many of ShiftAddNAS's published records the engine ``shiftadd`` reproduces, and why not the rest.

Run: ``python benchmarks/shiftaddnas_records.py``. Reads tests/golden/shiftaddnas/records.csv.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from simulators.shiftadd_checks import differing, records  # noqa: E402

from profiler.simulators import shiftadd_tiling  # noqa: E402


def main() -> None:
    """Print reproduced / total by kind of layer, then the reasons."""
    total: Counter[str] = Counter()
    good: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for row in records():
        kind = _kind(row)
        total[kind] += 1
        if row["shape"] is None:
            reasons[row["unknown"]] += 1
        elif wrong := differing(shiftadd_tiling, row):
            reasons[f"differs in {', '.join(wrong)}"] += 1
        else:
            good[kind] += 1
    for kind in sorted(total):
        print(f"{kind:<40} {good[kind]:>4} of {total[kind]:>4} reproduced to 1e-9")
    print(f"{'all':<40} {good.total():>4} of {total.total():>4}")
    for reason, count in reasons.most_common():
        print(f"not reproduced: {count} x {reason}")


def _kind(row: dict[str, object]) -> str:
    file, shape = str(row["file"]), row["shape"]
    if file.startswith("en_de"):
        return "Transformer layer"
    kind = file.removesuffix(".csv").rpartition("_")[-1]
    name = {"linear": "fully connected", "matmul": "product of activations"}.get(kind)
    assert isinstance(shape, tuple)
    return name or f"{kind} {shape[-2]}x{shape[-2]}"


if __name__ == "__main__":
    main()
