from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="what is simulated is an ONNX graph")

from contracts.estimator import EstimatorContract  # noqa: E402
from onnx import helper  # noqa: E402
from simulators.onnx_graphs import feed_forward, floats, graph_artifact, unmappable  # noqa: E402

from exporters import Artifact  # noqa: E402
from profiler import DeviceError, load_devices, open_session  # noqa: E402
from profiler.devices import SHIPPED  # noqa: E402
from profiler.errors import SimulationError  # noqa: E402
from profiler.simulators import Estimate, Estimator, Provenance, registry  # noqa: E402
from profiler.simulators.cache import CachedEstimator  # noqa: E402
from profiler.simulators.device import SimulatedDevice  # noqa: E402
from profiler.simulators.graph import read_graph  # noqa: E402
from profiler.simulators.host import HostParameters  # noqa: E402
from profiler.simulators.registry import ENGINES, digest_of, open_estimator, parameters_model  # noqa: E402

ARRAY = {"rows": 8, "cols": 4, "dataflow": "ws", "clock_hz": 1e8, "dram_bytes_per_s": 1e9, "takes": ["fp32"]}
HOST = {"operations_per_s": 1e9, "transfer_bytes_per_s": 1e8, "launch_us": 2}


def device(**fields) -> SimulatedDevice:
    return SimulatedDevice(**{"name": "a", "kind": "simulated", "engine": "systolic", "parameters": ARRAY} | fields)


class TestSystolic(EstimatorContract):
    @pytest.fixture
    def estimator(self) -> Estimator:
        return open_estimator(device())


class TestSystolicWithoutEnergy(EstimatorContract):
    @pytest.fixture
    def estimator(self) -> Estimator:
        return open_estimator(device(parameters=ARRAY | {"energy": None, "dataflow": "os"}))


class TestCached(EstimatorContract):
    @pytest.fixture
    def estimator(self, tmp_path: Path) -> Estimator:
        return open_estimator(device(), tmp_path / "estimates")


class TestShiftAddWithHost(EstimatorContract):
    @pytest.fixture
    def estimator(self) -> Estimator:
        return open_estimator(device(engine="shiftadd", parameters={}, host=HOST))


class TestRoofline(EstimatorContract):
    @pytest.fixture
    def estimator(self) -> Estimator:
        shipped = load_devices(SHIPPED).get("t4")
        assert isinstance(shipped, SimulatedDevice)
        return open_estimator(shipped)


class TestEverythingButProductsOnTheHost(EstimatorContract):
    @pytest.fixture
    def estimator(self) -> Estimator:
        return open_estimator(device(parameters=ARRAY | {"vector_lanes": 0, "energy": None}, host=HOST))


@pytest.mark.parametrize("name", ["tpu-v1", "edge-16x16", "shift-array"])
def test_the_devices_that_ship_estimate(name: str, tmp_path: Path) -> None:
    shipped = load_devices().get(name)
    assert isinstance(shipped, SimulatedDevice)
    estimate = open_estimator(shipped).estimate(feed_forward(tmp_path / "a.onnx"))
    assert estimate.energy_mj is not None
    assert estimate.provenance.fidelity == "uncalibrated"


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("engine", ENGINES)
def test_no_parameter_is_without_end(engine: str, value: float) -> None:
    for model in (parameters_model(engine), HostParameters):
        assert model.model_config["allow_inf_nan"] is False
    with pytest.raises(ValueError, match="finite"):
        HostParameters(operations_per_s=value, transfer_bytes_per_s=1)


def test_the_host_is_counted(tmp_path: Path) -> None:
    artifact = feed_forward(tmp_path / "a.onnx")
    bare = ARRAY | {"vector_lanes": 0}
    with pytest.raises(SimulationError, match="systolic cannot map Relu '/relu'; declare a host"):
        open_estimator(device(parameters=bare)).estimate(artifact)
    alone = open_estimator(device()).estimate(artifact)
    hosted = open_estimator(device(parameters=bare, host=HOST)).estimate(artifact)
    kinds = {primitive.kind: primitive for primitive in hosted.primitives}
    assert kinds["Relu"].latency_ms == pytest.approx(1e3 * (2e-6 + 2 * 4 * 48 / 1e8 + 48 / 1e9))
    assert hosted.primitives[0] == alone.primitives[0]
    assert hosted.energy_mj is None  # the host declares none: a sum without it would be a guess
    assert hosted.provenance.configuration != alone.provenance.configuration


def test_the_estimate_is_of_the_reference_shapes(tmp_path: Path) -> None:
    static = feed_forward(tmp_path / "a.onnx", rows=5)
    symbolic = feed_forward(tmp_path / "b.onnx", rows=5, dynamic={"x": {0: "rows"}})
    shorter = feed_forward(tmp_path / "c.onnx", rows=2, dynamic={"x": {0: "rows"}})
    assert symbolic.sha256 == shorter.sha256
    estimator = open_estimator(device(), tmp_path / "estimates")
    assert estimator.estimate(symbolic) == estimator.estimate(static)
    assert estimator.estimate(shorter).latency_ms < estimator.estimate(symbolic).latency_ms


def test_shape_arithmetic_is_folded_and_constants_are_not_paid(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Gather", ["size", "last"], ["width"], axis=0),
        helper.make_node("Concat", ["minus", "width"], ["flat"], axis=0),
        helper.make_node("Identity", ["table"], ["alias"]),
        helper.make_node("Slice", ["alias", "zero", "width", "zero"], ["rows"]),
        helper.make_node("Reshape", ["x", "flat"], ["m"]),
        helper.make_node("MatMul", ["m", "rows"], ["y"]),
    ]
    weights = {
        "last": np.array([2]),
        "minus": np.array([-1]),
        "zero": np.array([0]),
        "table": np.ones((100, 9), np.float32),
    }
    artifact = graph_artifact(
        *(tmp_path / "a.onnx", nodes, {"x": floats(2, 3, 5)}, ["y"], weights), dynamic={"x": {0: "b", 2: "w"}}
    )
    graph = read_graph(artifact)
    assert [node.op for node in graph.nodes] == ["Reshape", "MatMul"]
    product = graph.nodes[1]
    assert [(tensor.shape, tensor.constant) for tensor in product.inputs] == [((6, 5), False), ((5, 9), True)]
    assert graph.outputs[0].shape == (6, 9)
    assert [primitive.kind for primitive in open_estimator(device()).estimate(artifact).primitives] == ["MatMul"]


@dataclass
class Counting:
    """Counts what it is asked."""

    estimator: Estimator
    asked: list[str] = field(default_factory=list)

    @property
    def provenance(self) -> Provenance:
        return self.estimator.provenance

    def estimate(self, artifact: Artifact) -> Estimate:
        self.asked.append(artifact.path.name)
        return self.estimator.estimate(artifact)


def test_an_estimate_is_made_once(tmp_path: Path) -> None:
    folder, artifact = tmp_path / "kept", feed_forward(tmp_path / "a.onnx")
    counting = Counting(open_estimator(device()))
    first = CachedEstimator(counting, folder).estimate(artifact)
    assert CachedEstimator(counting, folder).estimate(artifact) == first
    assert counting.asked == ["a.onnx"]
    (kept,) = folder.iterdir()
    kept.write_text("{")  # damaged: made again
    assert CachedEstimator(counting, folder).estimate(artifact) == first
    assert counting.asked == ["a.onnx"] * 2
    CachedEstimator(counting, folder).estimate(feed_forward(tmp_path / "b.onnx", inner=17))
    other = Counting(open_estimator(device(parameters=ARRAY | {"rows": 9})))
    CachedEstimator(other, folder).estimate(artifact)
    assert (len(counting.asked), len(other.asked), len(list(folder.iterdir()))) == (3, 1, 3)
    with pytest.raises(SimulationError):
        CachedEstimator(counting, folder).estimate(unmappable(tmp_path / "c.onnx"))
    assert len(list(folder.iterdir())) == 3


def test_a_configuration_is_all_its_parameters() -> None:
    configurations = {
        device().configuration,
        device(parameters=ARRAY | {"cols": 5}).configuration,
        device(parameters=ARRAY | {"energy": None}).configuration,
        device(host=HOST).configuration,
        device(host=HOST | {"launch_us": 3}).configuration,
    }
    assert len(configurations) == 5
    assert device(name="b", description="the same array").configuration == device().configuration
    assert device(parameters=ARRAY | {"vector_lanes": 1}).configuration == device().configuration  # the default
    target = device().target("1")
    assert str(target) == f"a/systolic-1+{device().configuration[:8]}/threads=1/estimated"


def test_nothing_runs_on_a_simulated_device() -> None:
    with pytest.raises(
        DeviceError, match="'a' is simulated: nothing runs or is measured there, it can only be estimated"
    ):
        open_session(device())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("engine: magic", "engine 'magic' is unknown; known: systolic, "),
        ("engine: systolic", "systolic.rows: Field required"),
        ("engine: systolic, parameters: {rows: 8, side: 8}", "systolic: unknown parameter 'side'; known: rows, cols"),
        ("engine: systolic, parameters: {rows: 0, %s}", "an array of 0 x 4: rows must be at least 1"),
        ("engine: systolic, parameters: {rows: 8, %s, dram_bytes_per_s: 0.5}", "0.5 bytes a cycle, less than a word"),
        ("engine: systolic, parameters: {rows: 8, %s, filter_kib: 0.01}", "filter buffer holds 5 words, less than"),
        ("engine: systolic, parameters: {rows: 8, %s, precision: int3}", "precision: .*'int4', not 'int3'"),
        ("engine: systolic, parameters: {rows: 8, %s}, host: {launch_us: 1}", "host.operations_per_s: Field required"),
        ("engine: systolic, parameters: 7", "parameters: Input should be .*, not 7"),
        ("engine: systolic, threads: 2", "unknown key 'threads'"),
    ],
)
def test_an_impossible_device_is_one_line(tmp_path: Path, fields: str, message: str) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(
        f"devices:\n  a: {{kind: simulated, {fields.replace('%s', 'cols: 4, dataflow: ws, clock_hz: 1')}}}\n"
    )
    with pytest.raises(DeviceError, match=message) as caught:
        load_devices(path)
    assert str(caught.value).startswith(f"{path}: devices.a")
    assert "\n" not in str(caught.value)


def test_an_estimate_is_of_the_tools_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(registry, "digest_of", lambda files: seen.extend(files) or "d")
    registry.code_fingerprint.__wrapped__()
    assert {"systolic.py", "nn_dataflow_tool.py", "vela_tool.py", "vela.txt"} <= {file.name for file in seen}
    (tmp_path / "a").write_text("1")
    before = digest_of([tmp_path / "a"])
    (tmp_path / "a").write_text("2")
    assert digest_of([tmp_path / "a"]) != before


def test_a_branch_is_not_folded_for_what_only_its_body_sees(tmp_path: Path) -> None:
    """If's only input is constant, but its branches are of an activation."""
    shape = onnx.TensorProto.FLOAT, [3]
    bodies = [
        helper.make_graph(
            [helper.make_node(op, ["x"], [name])], name, [], [helper.make_tensor_value_info(name, *shape)]
        )
        for op, name in (("Relu", "a"), ("Neg", "b"))
    ]
    nodes = [
        helper.make_node("If", ["which"], ["z"], name="/if", then_branch=bodies[0], else_branch=bodies[1]),
        helper.make_node("Relu", ["z"], ["y"], name="/relu"),
    ]
    artifact = graph_artifact(tmp_path / "a.onnx", nodes, {"x": floats(3)}, ["y"], {"which": np.array(True)})
    assert [node.op for node in read_graph(artifact).nodes] == ["If", "Relu"]
