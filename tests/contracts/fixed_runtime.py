"""What every runtime of graphs with fixed shapes keeps: subclass ``FixedRuntimeContract``, give it ``session``."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from contracts.timing_session import TimingSessionContract

from exporters import Artifact
from profiler import Program, SessionError, Stage, TimingSession, check_parity
from profiler.parity import reference_tensors


def loop(artifact: Callable[[str], Artifact], repeat: int) -> Program:
    """A graph that feeds a loop with a cache."""
    return Program(
        (
            Stage("first", artifact("linear")),
            Stage(
                "step",
                artifact("counting"),
                repeat=repeat,
                feeds={"memory": "first.y"},
                carry={"x": "y", "past": "next"},
                initial={"x": (1, 8), "past": (2, 8)},
                counter="step",
            ),
        )
    )


class FixedRuntimeContract(TimingSessionContract):
    """A runtime that runs artifacts of ``contracts.tflite_graphs.golden``."""

    def artifact(self, stem: str) -> Artifact:
        raise NotImplementedError

    def linear(self, path: Path, size: int = 8) -> Artifact:
        return self.artifact("linear" if size == 8 else f"linear-{size}")

    @pytest.mark.parametrize("repeat", [1, 2, 5])
    def test_a_loop_with_a_cache_of_fixed_length(self, session: TimingSession, repeat: int) -> None:
        handle = session.load(loop(self.artifact, repeat))
        inputs, outputs = reference_tensors(self.artifact("linear"))
        for given, memory in ((None, outputs["y"]), ({"x": inputs["x"]}, outputs["y"]), (None, outputs["y"])):
            session.time(handle, 3, 2)  # whatever was run before does not matter
            found = session.run(handle, given)
            totals = np.cumsum(np.arange(repeat, dtype=np.float32))
            assert np.allclose(found["y"], totals[-1])
            assert np.allclose(found["next"], np.tile(totals.sum() + repeat * memory, (2, 1)), atol=1e-5)
        session.unload(handle)

    def test_other_inputs_than_the_reference_ones_do_not_stay(self, session: TimingSession) -> None:
        handle = session.load(loop(self.artifact, 2))
        inputs, _ = reference_tensors(self.artifact("linear"))
        before = session.run(handle)
        doubled = session.run(handle, {"x": 2 * np.asarray(inputs["x"])})
        assert not np.allclose(doubled["next"], before["next"])
        assert np.array_equal(session.run(handle)["next"], before["next"])

    @pytest.mark.parametrize(
        ("stage", "message"),
        [
            ({"carry": {"past": "next"}}, "past is carried, but has no initial shape"),
            ({"carry": {"past": "nope"}, "initial": {"past": (2, 8)}, "repeat": 2}, "needs 'nope'; known: y, next"),
            ({"carry": {"past": "next"}, "initial": {"past": (0, 8)}}, r"past .*(\(2, 8\), not \(0, 8\)|Expected: 2)"),
            ({"feeds": {"x": "encoder.y"}}, "needs 'encoder'; known: (step|nothing)"),
            ({"counter": "tick"}, "no input 'tick'; known: x, step, memory, past"),
        ],
    )
    def test_bad_wiring_is_named(self, session: TimingSession, stage: dict, message: str) -> None:
        with pytest.raises(SessionError, match=message):
            session.load(Program((Stage("step", self.artifact("counting"), **stage),)))

    def test_a_file_that_is_none(self, session: TimingSession, tmp_path: Path) -> None:
        good = self.artifact("linear")
        for suffix in ("", ".json", ".npz"):
            copy = tmp_path / f"{good.path.name}{suffix}"
            copy.write_bytes(good.path.with_name(good.path.name + suffix).read_bytes())
        broken = Artifact.load(tmp_path / good.path.name)
        broken.path.write_bytes(b"not a graph")
        with pytest.raises(SessionError, match=r": load: ") as caught:
            session.load(Program.single(broken))
        assert "\n" not in str(caught.value)

    def test_outputs_are_the_same_however_often_it_was_timed(self, session: TimingSession) -> None:
        feed = self.artifact("feed")
        handle = session.load(Program.single(feed))
        first = check_parity(feed, session.run(handle), "here")
        session.time(handle, 3, 2)
        assert check_parity(feed, session.run(handle), "here") == first
