"""Evolution and random search against the true constrained optimum of a space that can be enumerated.

    python -m benchmarks.evolution_truth [--seeds 100]

The space and its stand-in loss are those of the tests (tests/search/stand_in.py).
"""

from __future__ import annotations

import argparse

from tests.search.stand_in import SPACE, limit_at, variance_shares
from tests.search.truth import compare, table


def main() -> None:
    """Print a table per limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    seeds = range(parser.parse_args().seeds)
    singles, pairs = variance_shares()
    print(f"{SPACE.size():,} candidates; variance of the loss: {singles:.0%} single choices, {pairs:.0%} pairs")
    for share in (0.5, 0.2):
        limits = limit_at(share)
        print(f"limit that {share:.0%} of the space meets: {table(limits, list(compare(limits, seeds)))}")


if __name__ == "__main__":
    main()
