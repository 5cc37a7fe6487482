"""The exporter to TVM against the real compiler; needs the toolchain tvm."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="exporting is what torch is for")

from contracts.exporter import ExporterContract, feed, step  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

from exporters import ExportError, GraphInputs  # noqa: E402
from exporters.tvm import TvmExporter  # noqa: E402
from profiler import Program, check_parity  # noqa: E402
from profiler.errors import ToolchainError  # noqa: E402
from profiler.exporting import open_exporter  # noqa: E402

pytestmark = pytest.mark.slow


class TestTvm(ExporterContract):
    static = True

    @pytest.fixture
    def exporter(self, tvm: TvmExporter) -> TvmExporter:
        return tvm


class Calls(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def prove(exporter: TvmExporter, tvm_session, folder: Path, module: nn.Module, *tensors: torch.Tensor) -> None:
    """Compile, run, compare with PyTorch's outputs."""
    inputs = GraphInputs({f"x{place}": tensor for place, tensor in enumerate(tensors)}, ("y",))
    artifact = exporter.export(module, inputs, folder / "x.tvm")
    handle = tvm_session.load(Program.single(artifact))
    tvm_session.time(handle, 2)
    assert check_parity(artifact, tvm_session.run(handle), "here").snr_db > 100
    tvm_session.unload(handle)


@pytest.mark.parametrize("build", [feed, step])
def test_runs_as_pytorch_does(tvm: TvmExporter, tvm_session, tmp_path: Path, build) -> None:
    artifact = tvm.export(*build(), tmp_path / "x.tvm")
    assert check_parity(artifact, tvm_session.run(tvm_session.load(Program.single(artifact))), "here").snr_db > 100


few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
sizes = st.integers(1, 70)


@few
@given(rows=sizes, inner=sizes, columns=st.integers(1, 300), relu=st.booleans())
def test_products_with_weights_of_any_size(tvm, tvm_session, tmp_path, rows, inner, columns, relu) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(inner, columns), nn.ReLU() if relu else nn.Tanh())
    prove(tvm, tvm_session, tmp_path, module, torch.randn(rows, inner))


@few
@given(
    queries=st.integers(1, 40), keys=sizes, depth=st.integers(1, 40), wide=st.integers(1, 40), mask=st.integers(0, 3)
)
def test_attention_of_any_size(tvm, tvm_session, tmp_path, queries, keys, depth, wide, mask) -> None:
    torch.manual_seed(0)
    shape = [None, (keys,), (2, 1, 1, keys), (queries, keys)][mask]

    def attend(q, k, v, *masks):
        return ((q @ k.transpose(2, 3)) * 0.3 + sum(masks, torch.zeros(()))).softmax(-1) @ v

    def unmasked(q, k, v):
        return ((q @ k.transpose(2, 3)) / 3.0).softmax(-1) @ v

    tensors = [torch.randn(2, 3, queries, depth), torch.randn(2, 3, keys, depth), torch.randn(2, 3, keys, wide)]
    if shape is None:
        prove(tvm, tvm_session, tmp_path, Calls(unmasked), *tensors)
    else:
        prove(tvm, tvm_session, tmp_path, Calls(attend), *tensors, 3 * torch.randn(shape))


@few
@given(rows=sizes, inner=sizes, columns=sizes, batch=st.integers(1, 4))
def test_products_of_activations_of_any_size(tvm, tvm_session, tmp_path, rows, inner, columns, batch) -> None:
    torch.manual_seed(0)
    tensors = torch.randn(batch, 1, rows, inner), torch.randn(3, inner, columns)
    prove(tvm, tvm_session, tmp_path, Calls(torch.matmul), *tensors)


@few
@given(rows=sizes, columns=st.integers(2, 200), spread=st.floats(0.1, 30))
def test_rows_of_any_length(tvm, tvm_session, tmp_path, rows, columns, spread) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.LayerNorm(columns), nn.Softmax(-1))
    nn.init.normal_(module[0].weight, std=spread)
    prove(tvm, tvm_session, tmp_path, module, spread * torch.randn(rows, columns) + 3)


@pytest.mark.parametrize("name", ["cumsum", "mean"])
def test_what_has_no_schedule_is_refused_and_the_next_one_goes_on(tvm: TvmExporter, tmp_path: Path, name: str) -> None:
    inputs = GraphInputs({"x": torch.ones(3, 4)}, ("y",))
    with pytest.raises(ExportError, match=rf"x\.tvm: Calls was not compiled: .*no schedule for .*{name}") as caught:
        tvm.export(Calls(lambda x: getattr(x, name)(0)), inputs, tmp_path / "x.tvm")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tvm.log"]
    tvm.export(*feed(), tmp_path / "x.tvm")
    assert not (tmp_path / "x.tvm.log").exists()


def test_a_target_that_is_none(tvm: TvmExporter) -> None:
    with (
        pytest.raises(ToolchainError, match=r"'abacus' is no target: .*raspberry-pi/4b-aarch64"),
        open_exporter("tvm", "abacus"),
    ):
        pass


def test_other_targets_and_schedules_are_other_producers(tvm: TvmExporter) -> None:
    with open_exporter("tvm", "raspberry-pi/4b-aarch64") as other:
        assert "cortex-a72" in other.producer
        assert other.producer != tvm.producer
