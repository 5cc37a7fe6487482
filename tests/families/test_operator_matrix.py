"""Every operator of the seq2seq family on every runtime in every precision, against PyTorch."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="exporting is what torch is for")

from contracts.toolchains import need  # noqa: E402

from exporters import Exporter  # noqa: E402
from exporters.pt2 import Pt2Exporter  # noqa: E402
from hwnas.families import get_family  # noqa: E402
from hwnas.families.deployed import as_deployed  # noqa: E402
from hwnas.latency import operators_of  # noqa: E402
from latency_luts import OperatorSpec  # noqa: E402
from profiler import LocalDevice, Program, TimingSession, check_parity, open_session  # noqa: E402
from profiler.exporting import open_exporter  # noqa: E402
from profiler.worker.torch_runtime import TorchRuntime  # noqa: E402

pytestmark = pytest.mark.slow

FAMILY = get_family("seq2seq")
SPACE = FAMILY.space(
    {
        "name": "matrix",
        "family": "seq2seq",
        "workload": {"source_tokens": 7, "target_tokens": 6, "vocabulary": 50, "beam": 2},
        "choices": {
            "encoder_embed": [64],
            "encoder_layers": [2],
            "encoder_ffn": [96],
            "encoder_heads": [4],
            "decoder_embed": [48],
            "decoder_layers": [1],
            "decoder_ffn": [80],
            "decoder_self_heads": [4],
            "decoder_cross_heads": [2],
            "decoder_attended": [2],
        },
        "fixed": {"qkv": 64, "positions": 128},
    }
)
KINDS = [operator.kind for operator in operators_of(SPACE, FAMILY, SPACE.workload)]
TOOLCHAINS = {"litert": "litert-torch", "tvm": "tvm"}
PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic")
LEAST_SNR_DB = {"fp32": 90, "fp16": 50, "int8": 20, "int8-dynamic": 25}

Opened = tuple[Exporter, TimingSession]


@pytest.fixture(scope="module")
def opened() -> Iterator[Callable[[str], Opened]]:
    """The exporter and a session of each runtime that is asked for, opened once."""
    known: dict[str, Opened] = {}
    with ExitStack() as stack:

        def open_one(runtime: str) -> Opened:
            if runtime not in known:
                if runtime in TOOLCHAINS:
                    need(TOOLCHAINS[runtime])
                exporter = stack.enter_context(open_exporter(runtime))
                device = LocalDevice(name="here", kind="local", runtime=runtime)
                session = open_session(device)
                stack.callback(session.close)
                known[runtime] = exporter, session
            return known[runtime]

        yield open_one


def cells() -> Iterator[object]:
    for runtime in ("onnxruntime", "litert", "tvm", "torch"):
        for precision in PRECISIONS if runtime != "torch" else PRECISIONS[:1]:
            for kind in KINDS:
                yield pytest.param(runtime, precision, kind, id=f"{runtime}-{precision}-{kind}")


def test_all_kinds_are_here() -> None:
    assert len(KINDS) == len(set(KINDS)) == 9


@pytest.mark.parametrize(("runtime", "precision", "kind"), list(cells()))
def test_outputs_are_pytorchs(
    opened: Callable[[str], Opened], tmp_path: Path, record_property, runtime: str, precision: str, kind: str
) -> None:
    exporter, session = opened(runtime)
    family = as_deployed(FAMILY, runtime, precision)
    operator: OperatorSpec = next(op for op in operators_of(SPACE, family, SPACE.workload) if op.kind == kind)
    assert operator.precision == precision
    path = tmp_path / f"x.{exporter.format}"
    artifact = exporter.export(*family.module(operator), path, precision=precision)
    handle = session.load(Program.single(artifact))
    session.time(handle, 2)
    parity = check_parity(artifact, session.run(handle), runtime)
    session.unload(handle)
    record_property("max_abs_error", parity.max_abs_error)
    record_property("snr_db", parity.snr_db)
    assert parity.snr_db > LEAST_SNR_DB[precision]


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_an_operator_moves_to_another_device(tmp_path: Path, kind: str) -> None:
    """What a GPU is given by the runtime torch: on ``meta`` nothing is computed, and what stayed behind is an error."""
    family = as_deployed(FAMILY, "torch")
    operator = next(op for op in operators_of(SPACE, family, SPACE.workload) if op.kind == kind)
    module, inputs = family.module(operator)
    artifact = Pt2Exporter().export(module, inputs, tmp_path / "x.pt2")
    runtime = TorchRuntime(1, None)
    runtime.device = "meta"
    returned = runtime.open(str(artifact.path))(*(tensor.to("meta") for tensor in inputs.tensors.values()))
    assert [(tensor.device.type, tuple(tensor.shape)) for tensor in returned] == [
        ("meta", output.shape) for output in artifact.outputs
    ]
