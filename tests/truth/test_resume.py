"""A run that is killed anywhere and goes on ends with the statistics of one that was not, to the last bit."""

from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="makes the graphs")

from truth.device import TARGET, TruthDevice
from truth.scripts import scripted
from truth.simulated import programs, truths

from profiler import Journal, JournalContent, Plan, PlanItem, measure, read_journal

ITEMS = 6


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


class DyingDevice(TruthDevice):
    """Kills the driver at a request."""

    killed_at: int | None = None

    def request(self, what: str) -> None:
        super().request(what)
        if self.requests == self.killed_at:
            raise Killed


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    made = programs(tmp_path_factory.mktemp("programs"), ITEMS)
    items = tuple(PlanItem(f"item{n}", "operator", program) for n, program in enumerate(made))
    return Plan(items, rounds=24, seed=3, half_width=0.02)


def run(path: Path, plan: Plan, kind: str, killed_at: int | None = None) -> int:
    """Go on until the end or the kill; the number of requests it took."""
    disturbed = scripted(kind, 1)
    known = truths([item.program for item in plan.items], 1)
    device = DyingDevice(known, disturbed.script, disturbed.noise, 1, journal=path)
    device.killed_at = killed_at
    with Journal.open(path, plan.header([TARGET], workload={}, subject={})) as journal:
        try:
            measure([device.open], plan, journal)
        except Killed:
            assert killed_at is not None
    return device.requests


def statistics(content: JournalContent) -> dict[str, object]:
    found: dict[str, object] = {}
    for (_, item), measured in content.measurements.items():
        found[item] = (
            measured.latency_ms("wall"),
            measured.interval_ms("wall"),
            measured.status("wall"),
            measured.used_rounds,
            tuple(measured.rounds_ms("wall")),
            measured.raw_latency_ms("wall"),
        )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slow drift", "frequency steps", "neighbour"])
def test_killed_and_resumed_is_bit_identical(kind: str, plan: Plan, tmp_path: Path) -> None:
    requests = run(tmp_path / "whole", plan, kind)
    whole = read_journal(tmp_path / "whole")
    assert whole.complete
    assert any(r.correction != 1 or r.quarantined for m in whole.measurements.values() for r in m.rounds)
    for share in (0.03, 0.2, 0.45, 0.7, 0.97):
        path = tmp_path / f"{share}"
        run(path, plan, kind, killed_at=int(share * requests))
        assert not read_journal(path).complete
        with path.open("ab") as stream:
            stream.write(b'{"kind":"sample","target":"tr')
        run(path, plan, kind)
        resumed = read_journal(path)
        assert statistics(resumed) == statistics(whole)
        assert resumed.drift == whole.drift


def test_killed_again_and_again(plan: Plan, tmp_path: Path) -> None:
    run(tmp_path / "whole", plan, "slow drift")
    path = tmp_path / "j"
    while run(path, plan, "slow drift", killed_at=150) >= 150:
        pass
    assert statistics(read_journal(path)) == statistics(read_journal(tmp_path / "whole"))
