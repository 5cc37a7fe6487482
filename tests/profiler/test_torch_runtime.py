"""The runtime torch in the worker, on the CPU."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the runtime itself")

from contracts.fixed_runtime import FixedRuntimeContract  # noqa: E402
from contracts.tflite_graphs import golden  # noqa: E402
from torch import nn  # noqa: E402

from exporters import Artifact, GraphInputs  # noqa: E402
from exporters.pt2 import Pt2Exporter  # noqa: E402
from profiler import LocalDevice, Program, TimingSession, check_parity, open_session  # noqa: E402

DEVICE = LocalDevice(name="here", kind="local", runtime="torch")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("graphs")
    return {
        stem: Pt2Exporter().export(module, inputs, folder / f"{stem}.pt2")
        for stem, (module, inputs, precision) in golden().items()
        if precision == "fp32"
    }


@pytest.fixture(scope="module")
def shared_session():
    session = open_session(DEVICE)
    yield session
    session.close()


class TestTorch(FixedRuntimeContract):
    @pytest.fixture
    def session(self, shared_session: TimingSession, artifacts: dict[str, Artifact]) -> TimingSession:
        self.artifacts = artifacts
        return shared_session

    def artifact(self, stem: str) -> Artifact:
        return self.artifacts[stem]


class Attention(nn.Module):
    """A mask and a position made within, which have to be where the weights are."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(16, 2, batch_first=True)
        self.position: torch.Tensor
        self.register_buffer("position", torch.randn(5, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.position[torch.arange(5)]
        mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
        return self.inner(x, x, x, attn_mask=mask, need_weights=False)[0]


def test_a_sublayer_is_pytorchs(shared_session: TimingSession, tmp_path: Path) -> None:
    torch.manual_seed(0)
    artifact = Pt2Exporter().export(Attention(), GraphInputs({"x": torch.randn(1, 5, 16)}, ("y",)), tmp_path / "a.pt2")
    parity = check_parity(artifact, shared_session.run(shared_session.load(Program.single(artifact))), "here")
    assert parity.passed
    assert shared_session.target.runtime == f"torch-{torch.__version__.partition('+')[0]}"


def test_all_of_a_program_moves_to_another_device(tmp_path: Path) -> None:
    """What a GPU is given: on ``meta``, where nothing is computed, a tensor that stayed behind is an error."""
    from profiler.worker.torch_runtime import TorchRuntime

    torch.manual_seed(0)
    artifact = Pt2Exporter().export(Attention(), GraphInputs({"x": torch.randn(1, 5, 16)}, ("y",)), tmp_path / "a.pt2")
    runtime = TorchRuntime(1, None)
    runtime.device = "meta"
    function = runtime.open(str(artifact.path))
    (returned,) = function(runtime.tensor(np.zeros((1, 5, 16), np.float32)))
    assert returned.device.type == "meta"
    assert returned.shape == (1, 5, 16)


def test_other_threads_than_one_are_taken(artifacts: dict[str, Artifact]) -> None:
    device = DEVICE.model_copy(update={"threads": 2})
    with open_session(device) as session:
        assert check_parity(
            artifacts["feed"], session.run(session.load(Program.single(artifacts["feed"]))), "here"
        ).passed
