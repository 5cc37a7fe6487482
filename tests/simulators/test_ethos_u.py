"""The engine ethos-u: Vela's own figures, nothing free, and one file for the NPU and for LiteRT."""

import csv
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from contracts.toolchains import need

from exporters import Artifact
from latency_luts import OperatorSpec
from profiler import LocalDevice, Program, check_parity, load_devices, open_session
from profiler.devices import SHIPPED
from profiler.errors import SimulationError, ToolchainError, ToolRefusalError
from profiler.exporting import open_exporter
from profiler.simulators.device import SimulatedDevice
from profiler.simulators.estimate import Estimate
from profiler.simulators.ethos_u import EthosU, Parameters, open_engine
from profiler.simulators.host import HostEngine, HostParameters
from profiler.simulators.registry import open_estimator
from profiler.toolchain import environment, get_toolchain
from profiler.toolchain.place import python

GOLDEN = Path(__file__).parents[1] / "golden" / "tflite"
U55 = {"accelerator": "ethos-u55-128", "system_config": "Ethos_U55_High_End_Embedded", "memory_mode": "Shared_Sram"}
HOST = HostParameters(operations_per_s=1e8, transfer_bytes_per_s=1e9, launch_us=2)
SHIPPED_DEVICES = ("ethos-u55-256", "ethos-u65-512", "ethos-u85-512")


def golden(stem: str) -> Artifact:
    return Artifact.load(GOLDEN / f"{stem}.tflite")


class Compiled:
    """In Vela's place: three operators, of which one is left to the CPU."""

    def __init__(self, cpu: dict | None = None) -> None:
        row = {"Op Cycles": 400, "NPU": 300, "SRAM AC": 400, "DRAM AC": 0, "OnFlash AC": 0, "OffFlash AC": 90}
        row |= {"MAC Count": 96, "Staging Usage": 64, "Util% (MAC)": 25.0}
        self.answer = {
            "summary": {"core_clock": "500000000.0", "cycles_total": "1000"},
            "layers": [
                {**row, "Original Operator": "FullyConnected", "Target": "NPU", "Name": "a"},
                {**row, "Original Operator": "EmbeddingLookup", "Target": "CPU", "Name": "b", "Op Cycles": 0},
                {**row, "Original Operator": "Add", "Target": "NPU", "Name": "c", "Op Cycles": 600},
            ],
            "cpu": {"b": LOOKUP} if cpu is None else cpu,
        }

    def compile(self, path: Path, parameters: Parameters) -> dict:
        return self.answer


LOOKUP = {
    "operator": "EMBEDDING_LOOKUP",
    "inputs": [
        {"name": "ids", "shape": [4], "dtype": "int32", "constant": False},
        {"name": "table", "shape": [1000, 8], "dtype": "float32", "constant": True},
    ],
    "outputs": [{"name": "b", "shape": [4, 8], "dtype": "float32", "constant": False}],
}


def engine(vela: Compiled, host: HostParameters | None = HOST) -> EthosU:
    opened = open_engine(Parameters(**U55), "0" * 64, None if host is None else HostEngine(host, "0" * 64))
    return replace(cast(EthosU, opened), vela=vela)


def test_what_the_npu_leaves_is_paid_by_the_host() -> None:
    estimate = engine(Compiled()).estimate(golden("feed-int8"))
    npu_ms = 1000 / 500e6 * 1e3
    moved = 4 * 4 + 2 * 4 * 8 * 4  # ids, and four rows of eight floats read and written
    host_ms = 1e3 * (2e-6 + moved / 1e9 + 4 * 8 / 1e8)
    assert estimate.latency_ms == pytest.approx(npu_ms + host_ms, rel=1e-12)
    assert [primitive.kind for primitive in estimate.primitives] == ["FullyConnected", "EMBEDDING_LOOKUP", "Add"]
    assert estimate.primitives[0].latency_ms == pytest.approx(400 / 500e6 * 1e3)
    assert estimate.primitives[0].detail["utilisation"] == 0.25
    assert estimate.coverage == pytest.approx(2 / 3)
    assert estimate.energy_mj is None
    assert estimate.provenance.fidelity == "uncalibrated"
    assert engine(Compiled(), None).provenance.fidelity == "vendor-estimate"


def test_energy_is_never_a_part_of_it() -> None:
    host = HOST.model_copy(update={"pj_per_operation": 1.0, "pj_per_byte": 1.0})
    assert engine(Compiled(), host).estimate(golden("feed-int8")).energy_mj is None


@pytest.mark.parametrize(
    ("vela", "host", "message"),
    [
        (Compiled(), None, r"ethos-u leaves EMBEDDING_LOOKUP \(b\) to the CPU; declare a host"),
        (Compiled({}), HOST, r"leaves EmbeddingLookup \(b\) to the CPU, and the host does not know its work"),
        (Compiled({"b": {**LOOKUP, "operator": "TOPK_V2"}}), HOST, r"TOPK_V2 \(b\) to the CPU, and the host does not"),
    ],
)
def test_nothing_is_free(vela: Compiled, host: HostParameters | None, message: str) -> None:
    with pytest.raises(SimulationError, match=message) as caught:
        engine(vela, host).estimate(golden("feed-int8"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("artifact", "message"),
    [
        (golden("feed"), r"feed\.tflite is tflite in fp32; ethos-u takes tflite in int8"),
        (replace(golden("feed-int8"), format="onnx"), "is onnx in int8; ethos-u takes"),
    ],
)
def test_other_formats_and_precisions_are_refused(artifact: Artifact, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        engine(Compiled()).estimate(artifact)


class Failing(Compiled):
    """In Vela's place: it cannot."""

    def __init__(self, error: ToolchainError) -> None:
        self.error = error

    def compile(self, path: Path, parameters: Parameters) -> dict:
        raise self.error


def test_a_compiler_that_dies_is_no_artifact_that_cannot_be_mapped() -> None:
    with pytest.raises(ToolchainError, match="died"):
        engine(Failing(ToolchainError("died"))).estimate(golden("feed-int8"))
    with pytest.raises(SimulationError, match=r"feed-int8\.tflite: odd"):
        engine(Failing(ToolRefusalError("odd"))).estimate(golden("feed-int8"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"accelerator": "ethos-u55-100"}, "ethos-u.accelerator: .*not 'ethos-u55-100'"),
        ({"system_config": "Ethos_U65_High_End"}, "'Ethos_U65_High_End' is not one of ethos-u55-128: Ethos_U55_"),
        ({"memory_mode": "Huge"}, "memory_mode: .*not 'Huge'"),
        ({"clock": 1}, "unknown parameter 'clock'; known: accelerator, system_config, memory_mode"),
    ],
)
def test_impossible_parameters_are_one_line(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimulatedDevice(name="npu", kind="simulated", engine="ethos-u", parameters=U55 | fields)


def test_without_vela_the_command_that_installs_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    device = SimulatedDevice(name="npu", kind="simulated", engine="ethos-u", parameters=U55)
    with pytest.raises((SimulationError, ToolchainError), match="run: hwnas toolchain install vela"):
        open_estimator(device).estimate(golden("feed-int8"))


def test_the_devices_that_ship_are_whole() -> None:
    shipped = load_devices(SHIPPED)
    for name in SHIPPED_DEVICES:
        device = shipped.get(name)
        assert isinstance(device, SimulatedDevice)
        assert device.host is not None
        assert device.engine_parameters.accelerator == name


def fresh(path: Path, parameters: Parameters, folder: Path) -> dict[str, str]:
    """The summary of Vela's own command line, in a process of its own."""
    started = "import sys; from ethosu.vela.vela import main; sys.exit(main())"
    done = subprocess.run(
        [
            *(str(python(environment(get_toolchain("vela")))), "-c", started),
            *(str(path), "--config", "Arm/vela.ini", "--output-dir", str(folder)),
            *("--accelerator-config", parameters.accelerator, "--system-config", parameters.system_config),
            *("--memory-mode", parameters.memory_mode),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (summary,) = folder.glob("*_summary_*.csv")
    with summary.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    return row


def npu_ms(estimate: Estimate) -> float:
    return sum(primitive.latency_ms for primitive in estimate.primitives if "host" not in primitive.detail)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED_DEVICES)
@pytest.mark.parametrize("stem", ["feed-int8", "linear-int8", "embedding-int8"])
def test_the_figures_are_those_of_a_fresh_run_of_vela(name: str, stem: str, tmp_path: Path) -> None:
    need("vela")
    device = load_devices(SHIPPED).get(name)
    estimator = open_estimator(device)
    estimator.estimate(golden("linear-int8"))  # a process that has compiled before answers the same
    estimate = estimator.estimate(golden(stem))
    row = fresh(golden(stem).path, device.engine_parameters, tmp_path)
    assert npu_ms(estimate) == pytest.approx(1e3 * float(row["inference_time"]), rel=1e-12)
    cycles = sum(p.detail["cycles"] for p in estimate.primitives if "host" not in p.detail)
    assert cycles == float(row["cycles_total"])
    assert (estimate.coverage == 1) == (stem != "embedding-int8")
    assert estimator.estimate(golden(stem)) == estimate


@pytest.mark.slow
def test_operators_of_a_transformer_run_on_the_npu_and_the_same_files_in_litert(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="makes the operators")
    pytest.importorskip("ai_edge_litert", reason="the runtime litert")
    need("vela")
    need("litert-torch")
    from hwnas.families.seq2seq.operators import build

    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=GOLDEN, capture_output=True, check=False).stdout
    estimators = {name: open_estimator(load_devices(SHIPPED).get(name)) for name in SHIPPED_DEVICES}
    session = open_session(LocalDevice(name="here", kind="local", runtime="litert"))
    try:
        with open_exporter("ethos-u") as exporter:
            for number, spec in enumerate(transformer_operators(random.Random(commit))):
                module, inputs = build(OperatorSpec.parse(spec))
                artifact = exporter.export(module, inputs, tmp_path / f"{number}.tflite", precision="int8")
                parity = check_parity(artifact, session.run(session.load(Program.single(artifact))), "here")
                assert parity.snr_db > 25, spec
                for name, estimator in estimators.items():
                    estimate = estimator.estimate(artifact)
                    assert estimate.coverage == 1.0, (name, spec)
                    assert estimate.latency_ms == pytest.approx(npu_ms(estimate), rel=1e-12)
    finally:
        session.close()


def transformer_operators(rng: random.Random) -> list[str]:
    """Random sizes of every operator that is not a table look-up."""
    heads = rng.choice([2, 4, 8])
    embed, qkv, tokens, ffn = rng.choice([64, 96, 128, 256]), 16 * heads, rng.randrange(3, 40), rng.choice([128, 192])
    rest = f"embed={embed},precision=fp32"
    attention = f"heads={heads},qkv={qkv},{rest}"
    return [
        f"encoder_self_attention[batch=1,tokens={tokens},{attention}]",
        f"encoder_ffn[batch=1,tokens={tokens},ffn={ffn},{rest}]",
        f"cross_projection[attended=2,batch=1,tokens={tokens},{attention}]",
        f"decoder_self_attention[batch=1,beam=2,cache={tokens},{attention}]",
        f"decoder_cross_attention[batch=1,beam=2,tokens={tokens},{attention}]",
        f"decoder_ffn[batch=1,beam=2,ffn={ffn},{rest}]",
        f"output_projection[batch=1,beam=2,vocabulary=100,{rest}]",
    ]
