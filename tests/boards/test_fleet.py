"""Several boards of known truth share one plan: one table, unequal boards refused, a lost one's part taken over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="makes the graphs")

from truth.device import TARGET, Script, Truth, TruthDevice
from truth.simulated import programs

from latency_luts import LatencyLut
from profiler import Plan, PlanItem, Progress, SessionError
from profiler.errors import DeviceError
from profiler.fleet import COMMON, Shared, measure_shared

NAMES = [f"encoder_ffn[embed=512,ffn={64 * n},tokens=30,precision=fp32]" for n in range(1, 13)]


class Boards:
    """Devices by name; ``share`` measures on all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = programs(folder / "graphs", len(NAMES))
        self.devices: dict[str, TruthDevice] = {}
        items = (PlanItem(name, "operator", program) for name, program in zip(NAMES, self.programs, strict=True))
        self.plan = Plan(tuple(items), rounds=20, half_width=0.02)

    def latency_ms(self, name: str) -> float:
        return 0.2 + 0.1 * NAMES.index(name)

    def add(self, board: str, slower: float = 1.0, script: Script | None = None, seed: int = 0) -> None:
        truths = {
            program.sha256: Truth(slower * self.latency_ms(name), process_spread=0.005)
            for name, program in zip(NAMES, self.programs, strict=True)
        }
        target = TARGET.__class__(board, TARGET.runtime, TARGET.threads, TARGET.clock)
        self.devices[board] = TruthDevice(truths, script or Script(), seed=seed, target=target)

    def share(self, progress: Callable[[Progress], None] = lambda seen: None) -> Shared:
        openers = {board: device.open for board, device in self.devices.items()}
        return measure_shared(
            openers, self.plan, self.folder / "boards", workload={}, subject={"space": "s", "fingerprint": "f"},
            progress=progress,
        )  # fmt: skip

    def journals(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / "boards").iterdir())}

    def check(self, found: Shared) -> None:
        """All is measured, and near the truth."""
        assert found.content.complete
        for name in NAMES:
            measured = found.content.measured(found.target, name)
            assert measured.latency_ms("wall") == pytest.approx(self.latency_ms(name), rel=0.05)


@pytest.fixture
def boards(tmp_path: Path) -> Boards:
    return Boards(tmp_path)


def test_equal_boards_share_the_operators(boards: Boards) -> None:
    boards.add("pi4-a")
    boards.add("pi4-b", slower=1.005, seed=1)
    seen: list[Progress] = []
    found = boards.share(seen.append)
    boards.check(found)
    assert found.target.device == "pi4-a,pi4-b"
    assert found.ratios["pi4-b"] == pytest.approx(1.005, abs=0.01)
    visits = {
        board: {visit.program for visit in device.visits.values()} & {program.sha256 for program in boards.programs}
        for board, device in boards.devices.items()
    }
    assert len(visits["pi4-a"] & visits["pi4-b"]) == COMMON
    assert len(visits["pi4-a"]) == len(visits["pi4-b"]) == COMMON + (len(NAMES) - COMMON) // 2
    assert seen[-1].done <= seen[-1].total
    table = LatencyLut.derive(found.content, found.target)
    assert set(map(str, table.rows)) == set(NAMES)
    assert table.target.device == "pi4-a,pi4-b"
    before = boards.journals()
    boards.check(boards.share())
    assert boards.journals() == before, "nothing is measured twice"


def test_unequal_boards_are_refused_in_one_line(boards: Boards) -> None:
    boards.add("pi4-a")
    boards.add("pi5", slower=0.5)
    with pytest.raises(DeviceError, match=r"pi4-a and pi5 are not equal: pi5 takes 0\.5\d? times as long") as caught:
        boards.share()
    assert "\n" not in str(caught.value)


def test_a_lost_boards_part_goes_to_the_others(boards: Boards) -> None:
    boards.add("pi4-a")
    boards.add("pi4-b", script=Script(dies_at=frozenset(range(600, 100_000))), seed=1)
    boards.add("pi4-c", seed=2)
    found = boards.share()
    boards.check(found)
    assert list(found.lost) == ["pi4-b"]
    assert "the worker died" in found.lost["pi4-b"]


def test_one_lost_before_it_could_be_compared(boards: Boards) -> None:
    boards.add("pi4-a")
    boards.add("pi4-b", script=Script(dies_at=frozenset(range(40, 100_000))))
    found = boards.share()
    boards.check(found)
    assert list(found.ratios) == ["pi4-a"]


def test_an_error_if_all_are_lost_and_then_it_goes_on(boards: Boards) -> None:
    for seed, board in enumerate(("pi4-a", "pi4-b")):
        boards.add(board, script=Script(dies_at=frozenset(range(700, 100_000))), seed=seed)
    with pytest.raises(SessionError, match="the worker died"):
        boards.share()
    before = boards.journals()
    for device in boards.devices.values():
        device.script = Script()
    boards.check(boards.share())
    after = boards.journals()
    assert all(after[name].startswith(content) for name, content in before.items())


def test_ctrl_c_ends_all_threads_and_the_run_goes_on(boards: Boards) -> None:
    boards.add("pi4-a")
    boards.add("pi4-b", seed=1)

    def interrupt(seen: Progress) -> None:
        if seen.phase == "measure" and seen.done > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        boards.share(interrupt)
    boards.check(boards.share())


def test_boards_of_another_runtime_are_refused(boards: Boards) -> None:
    boards.add("pi4-a")
    boards.add("pi4-b")
    device = boards.devices["pi4-b"]
    device.target = TARGET.__class__("pi4-b", "other-2", 1, "wall")
    with pytest.raises(DeviceError, match="pi4-a and pi4-b cannot share one table"):
        boards.share()
