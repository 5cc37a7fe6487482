"""Every searcher against the true optimum and the true front of a space that can be enumerated.

    python -m benchmarks.search_truth [--seeds 50] [--evaluations 500] [--json]

The space and its stand-in loss are those of the tests (tests/search/stand_in.py): 41,796 candidates, at
least 30 % of the variance of the loss from pairs of choices, latency known. Three tables: how often, and how
nearly, each method finds the lowest loss under a latency limit at equal cost; how many evaluations LINAS
needs for the hypervolume of NSGA-II; and the same search by gradients, on a relaxation of that loss.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict

from tests.search.relaxation import METHODS as GRADIENTS
from tests.search.relaxation import relaxed
from tests.search.stand_in import SPACE, limit_at, variance_shares
from tests.search.truth import METHODS, Found, Front, fronts, regrets

SHARES = (0.5, 0.2)
"""Limits that so much of the space meets."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    seeds, singles, pairs = range(given.seeds), *variance_shares()
    found: list[Found] = []
    for share in SHARES:
        limits = limit_at(share)
        for method in METHODS:
            found.append(regrets(method, limits, share, seeds, given.evaluations))
            print(f"  {method} done", file=sys.stderr)
        found += [relaxed(method, limits, share, seeds, given.evaluations) for method in GRADIENTS]
    compared = fronts(seeds, given.evaluations)
    if given.json:
        document = {"found": [one.as_dict() for one in found], "fronts": [asdict(front) for front in compared]}
        print(json.dumps(document, indent=2))
        return
    print(
        f"{SPACE.size():,} candidates; variance of the loss: {singles:.0%} single choices, {pairs:.0%} pairs;"
        f" {given.evaluations} evaluations each, {given.seeds} seeds\n"
    )
    print("\n".join(_regrets(found)))
    print("\n".join(_fronts(compared)))


def _regrets(found: Iterable[Found]) -> Iterable[str]:
    share = None
    for one in found:
        if one.share != share:
            share = one.share
            yield f"lowest loss under the limit that {share:.0%} of the space meets:"
            yield f"  {'':<12} {'found':>6} {'median':>8} {'worst':>8}   regret in millinats"
        yield (
            f"  {one.method:<12} {one.regrets.found:>6.0%} {1000 * one.regrets.median:>8.2f}"
            f" {1000 * one.regrets.worst:>8.2f}   {one.note}"
        )


def _fronts(compared: list[Front]) -> Iterable[str]:
    yield "hypervolume of loss and latency, of the true front's, and evaluations to the median one of NSGA-II:"
    for front in compared:
        to = "never" if front.evaluations is None else f"{front.evaluations:.0f}"
        yield f"  {front.method:<12} {front.share:>7.2%}   {to:>6} (median, {front.reached:.0%} of the seeds reach it)"


if __name__ == "__main__":
    main()
