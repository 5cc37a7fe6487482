"""What every :class:`profiler.simulators.Estimator` of ONNX artifacts must do."""

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from simulators.onnx_graphs import feed_forward, unmappable

from profiler.errors import SimulationError
from profiler.simulators import Estimator, Fidelity


class EstimatorContract:
    """Subclass it with a fixture ``estimator`` that takes fp32 artifacts."""

    @pytest.fixture
    def estimator(self) -> Estimator:
        raise NotImplementedError

    def test_an_estimate_is_a_pure_function(self, estimator: Estimator, tmp_path: Path) -> None:
        artifact = feed_forward(tmp_path / "a.onnx")
        assert estimator.estimate(artifact) == estimator.estimate(artifact)
        elsewhere = feed_forward(tmp_path / "other" / "b.onnx")
        assert estimator.estimate(artifact) == estimator.estimate(elsewhere)

    def test_no_primitive_is_free_and_they_make_the_whole(self, estimator: Estimator, tmp_path: Path) -> None:
        estimate = estimator.estimate(feed_forward(tmp_path / "a.onnx"))
        assert [primitive.kind for primitive in estimate.primitives] == ["Gemm", "Relu", "MatMul", "Softmax"]
        assert all(primitive.latency_ms > 0 for primitive in estimate.primitives)
        assert estimate.latency_ms == pytest.approx(sum(primitive.latency_ms for primitive in estimate.primitives))
        energies = [primitive.energy_mj for primitive in estimate.primitives]
        if None in energies:
            assert estimate.energy_mj is None
        else:
            assert estimate.energy_mj == pytest.approx(sum(energies))
            assert min(energies) > 0

    def test_more_work_is_not_cheaper(self, estimator: Estimator, tmp_path: Path) -> None:
        small = estimator.estimate(feed_forward(tmp_path / "a.onnx", 16, 64, 64))
        large = estimator.estimate(feed_forward(tmp_path / "b.onnx", 256, 512, 512))
        assert large.latency_ms > small.latency_ms

    def test_it_says_where_it_is_from(self, estimator: Estimator, tmp_path: Path) -> None:
        provenance = estimator.estimate(feed_forward(tmp_path / "a.onnx")).provenance
        assert provenance == estimator.provenance
        assert provenance.engine
        assert provenance.version
        assert re.fullmatch("[0-9a-f]{64}", provenance.configuration)
        assert provenance.fidelity in get_args(Fidelity)

    def test_what_cannot_be_mapped_is_named(self, estimator: Estimator, tmp_path: Path) -> None:
        with pytest.raises(SimulationError, match="NonZero '/odd'"):
            estimator.estimate(unmappable(tmp_path / "a.onnx"))

    def test_another_format_or_precision_is_refused(self, estimator: Estimator, tmp_path: Path) -> None:
        artifact = feed_forward(tmp_path / "a.onnx")
        with pytest.raises(SimulationError, match=r"^a\.onnx is fp64; .* takes .*fp32"):
            estimator.estimate(replace(artifact, precision="fp64"))
        with pytest.raises(SimulationError, match=r"^a\.onnx is tflite; this engine reads onnx"):
            estimator.estimate(replace(artifact, format="tflite"))

    def test_a_damaged_graph_is_one_line(self, estimator: Estimator, tmp_path: Path) -> None:
        artifact = feed_forward(tmp_path / "a.onnx")
        artifact.path.write_bytes(b"\xff" * 100)
        with pytest.raises(SimulationError, match=r"cannot read .*a\.onnx.*export it again"):
            estimator.estimate(replace(artifact, sha256="0" * 64))
