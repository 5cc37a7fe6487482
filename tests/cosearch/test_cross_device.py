"""The verdict of the benchmark across devices."""

from __future__ import annotations

from benchmarks.cross_device import Winner, source_on, told, verdict
from hwnas.space import Candidate

LIMITS = {"array": 1.0, "cpu": 2.0}


def winner(device: str, losses: list[float], array_ms: float, cpu_ms: float, off_ms: float = 0.1) -> Winner:
    candidate = Candidate((("searched_for", len(device)),))
    interval = {"cpu": (cpu_ms - off_ms, cpu_ms + off_ms)}
    return Winner(
        device, candidate, sum(losses) / len(losses), tuple(losses), {"array": array_ms, "cpu": cpu_ms}, interval
    )


def verdicts(*winners: Winner) -> dict[str, str]:
    return {device: verdict(device, winners, limit_ms) for device, limit_ms in LIMITS.items()}


def test_each_is_best_where_the_other_is_too_slow() -> None:
    own, other = winner("array", [1.0] * 4, 0.9, 3.0), winner("cpu", [0.9] * 4, 1.1, 1.8)
    assert verdicts(own, other) == {"array": "wins", "cpu": "wins"}
    text = told([own, other], LIMITS, "cpu")
    assert "array ms, estimated  cpu ms, measured" in text
    assert [source_on(name, "cpu") for name in LIMITS] == ["estimated", "measured"]
    assert "(3.0000 ±0.1000)" in text
    assert "(1.1000)" in text


def test_another_that_meets_the_limit_and_is_better() -> None:
    own = winner("array", [1.0, 1.1, 0.9, 1.0], 0.9, 3.0)
    clearly = winner("cpu", [0.9, 1.0, 0.8, 0.9], 0.9, 1.8)
    barely = winner("cpu", [0.9, 1.3, 0.9, 0.88], 0.9, 1.8)
    assert verdicts(own, clearly)["array"] == "LOSES to the winner of cpu by 0.1000 nats"
    assert verdicts(own, barely)["array"] == "wins within the noise"


def test_what_may_miss_the_limit_is_no_rival_and_what_does_no_winner() -> None:
    own, other = winner("cpu", [1.0] * 3, 0.5, 1.9), winner("array", [0.9] * 3, 0.5, 1.95)
    assert verdicts(own, other)["cpu"] == "wins"
    assert verdicts(winner("cpu", [1.0] * 3, 0.5, 2.05), other)["cpu"] == "wins"
    assert verdicts(winner("cpu", [1.0] * 3, 0.5, 2.2), other)["cpu"] == "LOSES: it misses the limit"
