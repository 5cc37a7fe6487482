"""Sessions told at the level of an earlier one."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from profiler import JournalContent, JournalError, JournalHeader, JournalItem, JournalPlan, Target
from profiler.anchor import Anchor
from profiler.evidence import Evidence
from profiler.journal import parse_header
from profiler.journal_writer import difference

TARGET = Target("x86", "onnxruntime-1.0", 1, "thread_cpu")
FACTS = {"cpu_model": "a processor", "numpy": "2.0", "threads": 1, "load_average": [0.1]}


def session(slower: float = 1.0, seed: int = 0, anchor: Anchor | None = None, **facts: object) -> JournalContent:
    """Twenty rounds of an item of 1 ms beside references of 0.1 and 0.2 ms, on a device that is as much slower."""
    rng = np.random.default_rng(seed)
    name = str(TARGET)
    header = JournalHeader(
        (TARGET,),
        {},
        {},
        (JournalItem("a", "operator", "p"),),
        JournalPlan(20, 3, 2.0, 0),
        {} if anchor is None else {name: anchor},
    )
    records: list[dict[str, object]] = [
        {"kind": "environment", "target": name, "at": "start", "round": None, "facts": FACTS | facts}
    ]

    def taken(kind: str, number: int, position: int, ms: float, **more: object) -> None:
        ns = [int(1e6 * ms * math.exp(0.003 * rng.standard_normal())) for _ in range(3)]
        record = {"kind": kind, "target": name, "round": number, "position": position, "calls": 1}
        records.append(record | {"wall_ns": ns, "cpu_ns": ns} | more)

    for number in range(20):
        for position in (0, 3):
            taken("reference", number, position, 0.1 * slower, workload="compute")
            taken("reference", number, position + 1, 0.2 * slower**3, workload="memory")
        taken("sample", number, 2, slower, item="a")
    return Evidence.collected(header, records, None).content()  # type: ignore[arg-type]


def latency_ms(content: JournalContent) -> float:
    return content.measurements[str(TARGET), "a"].latency_ms("thread_cpu")


def anchor_of(content: JournalContent) -> Anchor:
    return Anchor.of(content.drift[str(TARGET)].levels_ms["compute"], content.environment[0].facts)


@pytest.mark.parametrize("slower", [0.93, 1.0, 1.05, 1.2])
def test_a_session_is_told_at_the_level_of_another(slower: float) -> None:
    first = session()
    second = session(slower, seed=1, anchor=anchor_of(first))
    alone = session(slower, seed=1)
    assert latency_ms(alone) == pytest.approx(slower * latency_ms(first), rel=0.005)
    assert latency_ms(second) == pytest.approx(latency_ms(first), rel=0.005)
    measured = second.measurements[str(TARGET), "a"]
    assert measured.raw_latency_ms("thread_cpu") == latency_ms(alone), "what was measured stays as it was"
    factor = latency_ms(second) / latency_ms(alone)
    own_ms = alone.measurements[str(TARGET), "a"].interval_ms("thread_cpu")
    assert measured.interval_ms("thread_cpu") == pytest.approx(tuple(factor * end_ms for end_ms in own_ms))
    drift = second.drift[str(TARGET)].as_dict()
    assert drift["anchored"] == pytest.approx(1 / slower, rel=0.005)


@pytest.mark.parametrize(
    ("slower", "facts", "why"),
    [
        (1.4, {}, "its compute reference takes 1.40 times as long"),
        (1.0, {"numpy": "2.1"}, "numpy was 2.0, is 2.1"),
        (1.0, {"threads": 2}, "threads was 1, is 2"),
    ],
)
def test_what_cannot_be_compared_is_told_at_its_own_level(slower: float, facts: dict[str, object], why: str) -> None:
    second = session(slower, anchor=anchor_of(session()), **facts)
    assert latency_ms(second) == latency_ms(session(slower))
    drift = second.drift[str(TARGET)].as_dict()
    assert drift["unanchored"] == why
    assert "anchored" not in drift


def test_without_references_there_is_no_level() -> None:
    assert Anchor(0.1).refusal(None, {}) == "its compute reference was not taken"


def test_a_run_goes_on_at_the_level_it_began_with() -> None:
    header = session(anchor=anchor_of(session())).header
    assert parse_header(json.loads(json.dumps(header.as_dict())), None) == header  # type: ignore[arg-type]
    old = header.as_dict()
    del old["anchors"]
    assert parse_header(json.loads(json.dumps(old)), None) == replace(header, anchors={})  # type: ignore[arg-type]
    assert difference(header, header) is None
    assert (
        difference(header, replace(header, anchors={})) == "it is told at another level: of another table, or of none"
    )


def test_a_damaged_anchor_is_a_damaged_header() -> None:
    damaged = session().header.as_dict() | {"anchors": {str(TARGET): {"made_of": {}}}}
    with pytest.raises(JournalError, match="damaged"):
        parse_header(json.loads(json.dumps(damaged)), None)  # type: ignore[arg-type]
