"""What the benchmarks of the measurement compute from journals; what they measure is not tested here."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="one of them times models")

from profiler import JournalHeader, JournalItem, JournalPlan, Target

TARGET = Target("x86", "onnxruntime-1.0", 1, "thread_cpu")


def journal(path: Path, items: tuple[JournalItem, ...], records: list[dict[str, object]]) -> Path:
    header = JournalHeader((TARGET,), {}, {}, items, JournalPlan(rounds=8, samples=3, min_sample_ms=2.0, seed=0))
    lines = [header.as_dict(), *({"target": str(TARGET), **record} for record in records)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def sample(item: str, number: int, wall_ms: float = 1.0, cpu_ms: float = 1.0, **more: object) -> dict[str, object]:
    times = {"wall_ns": [int(wall_ms * 1e6)] * 3, "cpu_ns": [int(cpu_ms * 1e6)] * 3, "calls": 1}
    return {"kind": "sample", "item": item, "round": number, "position": 1, **times, **more}


def test_the_cost_of_a_table_counts_good_rounds_and_all_measuring(tmp_path: Path) -> None:
    items = tuple(
        JournalItem(name, role, name) for name, role in (("a", "operator"), ("b", "operator"), ("m", "model"))
    )
    records = [sample("a", n, took_s=1.0, at_s=n + 1.0) for n in range(2)]
    records += [sample("b", n, took_s=2.0, at_s=n + 10.0) for n in range(4)]
    records += [sample("b", 4, took_s=2.0, at_s=15.0, facts={"wall_ns": 9_000_000, "raw_ns": 3_000_000})]
    records += [sample("m", 0, took_s=5.0, at_s=20.0)]
    spent = importlib.import_module("benchmarks.table_cost").spent_on_operators(journal(tmp_path / "j", items, records))
    assert (spent.slowest, spent.most_rounds) == ("b", 4), "the fifth was quarantined"
    assert (spent.adaptive_s, spent.fixed_s) == (12.0, 14.0)
    assert spent.share == pytest.approx(12 / 14)
    assert spent.measuring_s == 20.0
    assert spent.whole_share == pytest.approx(20 / 22)


def test_each_clock_is_corrected_by_its_own_references(tmp_path: Path) -> None:
    """On the wall clock half of the rounds are 15 % slower, references and all; on the CPU's none is."""
    records: list[dict[str, object]] = [{"kind": "environment", "at": "start", "round": None, "facts": {}}]
    for number in range(12):
        slow = 1.15 if number >= 6 else 1.0
        for position, workload, ms in (
            (0, "compute", 0.1),
            (0, "memory", 0.2),
            (2, "compute", 0.1),
            (2, "memory", 0.2),
        ):
            reference = sample("", number, ms * slow, ms)
            records.append({**reference, "kind": "reference", "workload": workload, "position": position})
        records.append(sample("a", number, 1.5 * slow, 1.0))
    path = journal(tmp_path / "j", (JournalItem("a", "operator", "a"),), records)
    on_clock = importlib.import_module("benchmarks.test_retest").on_clock
    assert on_clock(path, "wall") == pytest.approx({"a": 1.5}, rel=0.01)
    assert on_clock(path, "thread_cpu") == pytest.approx({"a": 1.0}, rel=0.01)
    (header, *told) = (json.loads(line) for line in path.read_text().splitlines())
    for record in told[1:]:
        record["cpu_ns"] = [int(0.9 * ns) for ns in record["cpu_ns"]]
    faster = tmp_path / "faster"
    faster.write_text("".join(json.dumps(line) + "\n" for line in (header, *told)))
    assert on_clock(faster, "thread_cpu") == pytest.approx({"a": 0.9}, rel=0.01)
    assert on_clock(faster, "thread_cpu", level_of=path) == pytest.approx({"a": 1.0}, rel=0.01)
    assert on_clock(faster, "wall", level_of=path) == pytest.approx({"a": 1.5}, rel=0.01)


def test_hats_dry_runs_give_what_the_model_does() -> None:
    import torch

    from hwnas.families import get_family
    from hwnas.families.base import Vocabularies
    from tests.training.toy import SPACE

    torch.manual_seed(0)
    model = get_family(SPACE.family).model(SPACE, SPACE.extreme(-1), Vocabularies(9, 9)).eval()
    source, targets = torch.randint(4, 9, (2, 5)), torch.randint(4, 9, (2, 6))
    found = importlib.import_module("benchmarks.hat_protocol").teacher_forced(model, model.encode(source), targets)
    torch.testing.assert_close(found, model(source, targets))
