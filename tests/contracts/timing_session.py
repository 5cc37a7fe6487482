"""What every timing session keeps: subclass ``TimingSessionContract`` and give it ``session``."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from contracts.graphs import linear

from exporters import Artifact
from profiler import Program, ReferenceWorkload, SessionError, TimingSession, check_parity


class TimingSessionContract:
    """Every implementation of :class:`profiler.TimingSession`."""

    @pytest.fixture
    def session(self) -> TimingSession:
        raise NotImplementedError

    def linear(self, path: Path, size: int = 8) -> Artifact:
        """y = x W, (1, size), in the format the session runs."""
        return linear(path, size)

    def test_outputs_are_the_references(self, session: TimingSession, tmp_path: Path) -> None:
        artifact = self.linear(tmp_path / "a.onnx")
        outputs = session.run(session.load(Program.single(artifact)))
        assert check_parity(artifact, outputs, "here").passed

    def test_samples_have_calls_and_both_clocks(self, session: TimingSession, tmp_path: Path) -> None:
        handle = session.load(Program.single(self.linear(tmp_path / "a.onnx")))
        taken = session.time(handle, 20, 3)
        assert [sample.calls for sample in taken] == [20, 20, 20]
        assert all(sample.wall_ns > 0 and sample.cpu_ns > 0 for sample in taken)
        assert len(session.time(handle, 1)) == 1

    def test_programs_are_apart(self, session: TimingSession, tmp_path: Path) -> None:
        one, two = self.linear(tmp_path / "1.onnx", 8), self.linear(tmp_path / "2.onnx", 16)
        handles = [session.load(Program.single(artifact)) for artifact in (one, two, one)]
        assert len(set(handles)) == 3
        session.unload(handles[0])
        for handle, size in ((handles[1], 16), (handles[2], 8)):
            assert session.run(handle)["y"].shape == (1, size)

    def test_what_is_unloaded_is_gone(self, session: TimingSession, tmp_path: Path) -> None:
        handle = session.load(Program.single(self.linear(tmp_path / "a.onnx")))
        session.unload(handle)
        for use in (
            lambda: session.time(handle, 1),
            lambda: session.run(handle),
            lambda: session.unload(handle),
        ):
            with pytest.raises(SessionError, match=handle):
                use()
        session.load(Program.single(self.linear(tmp_path / "a.onnx")))

    def test_an_unknown_input_is_refused(self, session: TimingSession, tmp_path: Path) -> None:
        handle = session.load(Program.single(self.linear(tmp_path / "a.onnx")))
        with pytest.raises(SessionError, match="x"):
            session.run(handle, {"nonsense": np.zeros((1, 8), np.float32)})
        assert session.run(handle)["y"].shape == (1, 8)

    @pytest.mark.parametrize("workload", get_args(ReferenceWorkload))
    def test_a_reference_workload_is_timed_like_a_program(self, session: TimingSession, workload) -> None:
        taken = session.reference(workload, 30, 3)
        assert [sample.calls for sample in taken] == [30, 30, 30]
        assert all(sample.wall_ns > 0 and sample.cpu_ns > 0 for sample in taken)
        assert len(session.reference(workload, 1)) == 1

    def test_counters_only_grow(self, session: TimingSession) -> None:
        first, second = session.counters(), session.counters()
        assert first.keys() == second.keys()
        assert all(second[name] >= first[name] for name in first)
        assert json.loads(json.dumps(first)) == first

    def test_facts_are_json(self, session: TimingSession) -> None:
        facts = json.loads(json.dumps(session.facts(), allow_nan=False))
        assert "cpu_model" in facts

    def test_the_target_is_told(self, session: TimingSession) -> None:
        assert session.target.device
        assert session.target.threads >= 1
        assert any(character.isdigit() for character in session.target.runtime)
