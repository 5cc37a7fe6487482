"""An arm64 board without internet, its processor emulated: set up, parity of operators, a bundle deployed, cleaned."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from boards.arm64_board import Board, emulated_board, missing
from cli.shell import Shell
from contracts.toolchains import need

from exporters import Artifact
from exporters.artifact import sha256_of
from hwnas.deploy.bundle import write_graphs
from hwnas.deploy.runner import Bundle
from hwnas.families import get_family
from hwnas.families.deployed import as_deployed
from hwnas.latency import operators_of
from hwnas.operator_parity import chosen_operators
from hwnas.profiling import build_plan, quietly
from hwnas.sampling import Sampling
from hwnas.spaces import load_space
from profiler import LocalDevice, Program, SessionError, load_devices, open_session
from profiler.boards.known import known_graph
from profiler.exporting import exporter_for
from profiler.parity import compare, reference_tensors
from tests.training.toy import FAMILY, SPACE, toy_task

pytestmark = pytest.mark.slow

OPERATORS = 20
FIXED = replace(SPACE.workload, source_tokens=6, target_tokens=24)
"""For graphs of fixed shapes: of room for what the model answers before it is trained."""
ENTRY = """\
  {name}:
    kind: ssh
    host: {board.host}
    port: {board.port}
    user: {board.user}
    key: {board.key}
    runtime: {runtime}
    tvm_target: raspberry-pi/4b-aarch64
    emulated: true
"""


@dataclass(frozen=True)
class Emulated:
    """The board, the devices ``pi``, ``pi-litert`` and ``pi-tvm`` on it, a user's shell, and what setting up said."""

    board: Board
    shell: Shell
    setup: dict[str, Any]

    def device(self, name: str) -> Any:
        return load_devices(self.shell.folder / "devices.yaml").get(name)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    lack = missing()
    if lack is not None:
        if os.environ.get("CI"):
            pytest.fail(lack)
        pytest.skip(lack)
    folder = tmp_path_factory.mktemp("emulated")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")  # of the user: wheels, toolchains
    with pytest.MonkeyPatch.context() as patch, emulated_board(folder / "board") as board:
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        known_hosts = folder / "config" / "hwnas" / "known_hosts"
        known_hosts.parent.mkdir(parents=True)
        known_hosts.write_text(board.known_hosts.read_text())
        need("tvm")
        runtimes = {"pi": "onnxruntime", "pi-litert": "litert", "pi-tvm": "tvm"}
        entries = "".join(ENTRY.format(name=name, board=board, runtime=each) for name, each in runtimes.items())
        (folder / "devices.yaml").write_text(f"devices:\n{entries}")
        shell = Shell(folder, cache)
        options = [word for each in runtimes.values() for word in ("--runtime", each)]
        ran = shell("devices", "setup", "pi", *options, "--json")
        yield Emulated(board, shell, ran.json)


def test_it_is_an_arm64_board_that_reaches_nothing(emulated: Emulated) -> None:
    assert emulated.board.ssh("uname", "-m").stdout == "aarch64\n"
    interfaces = emulated.board.ssh("cat", "/proc/net/dev").stdout.splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]


def test_setting_it_up_proves_every_runtime(emulated: Emulated) -> None:
    assert emulated.setup["board"]["machine"] == "aarch64"
    assert emulated.setup["board"]["model"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert set(emulated.setup["proven"]) == {"litert", "onnxruntime", "tvm"}
    assert emulated.setup["folder"] == f"{emulated.setup['board']['home']}/.hwnas/venv"
    there = emulated.board.home / ".hwnas" / "venv" / "hwnas.json"
    assert json.loads(there.read_text())["packages"] == emulated.setup["packages"]
    again = emulated.shell("devices", "setup", "pi", "--json")
    assert again.json["fresh"] is False
    assert again.json["runtimes"] == emulated.setup["runtimes"]
    assert "downloading" not in again.err
    assert "sending" not in again.err


@pytest.mark.parametrize(
    ("name", "precision"),
    [("pi", "fp32"), ("pi-litert", "fp32"), ("pi-tvm", "fp32"), ("pi-tvm", "int8-dynamic")],
)
def test_operators_give_there_what_they_give_here(emulated: Emulated, name: str, precision: str) -> None:
    there = emulated.device(name)
    here = LocalDevice(name="here", kind="local", runtime=there.runtime)
    if there.runtime == "litert":
        need("litert-torch")
    cache = emulated.shell.cache / "hwnas" / "artifacts"
    loaded = load_space("g2p")
    family = as_deployed(get_family(loaded.family), there.runtime, precision)
    whole = operators_of(loaded, family, loaded.workload)
    operators = chosen_operators(whole, OPERATORS)
    assert len(operators) == OPERATORS
    assert {operator.kind for operator in operators} == {operator.kind for operator in whole}
    artifacts = []
    for device in (here, there):  # what is compiled is another file for each
        with exporter_for(device) as exporter:
            none = Sampling(calibration=0, check=0)
            plan = build_plan(loaded, family, loaded.workload, none, exporter, cache, quietly, operators)
        artifacts.append([item.program.stages[0].artifact for item in plan.items])
    with closing(open_session(here)) as x86, closing(open_session(there)) as arm:
        assert arm.facts()["machine"] == "aarch64"
        for ours, theirs in zip(*artifacts, strict=True):
            expected, outputs = outputs_of(x86, ours), outputs_of(arm, theirs)
            assert compare(expected, outputs, theirs.tolerance).passed, theirs.path.name
            assert compare(reference_tensors(theirs)[1], outputs, theirs.tolerance).passed, theirs.path.name


def outputs_of(session: Any, artifact: Artifact) -> Any:
    handle = session.load(Program.single(artifact))
    try:
        return session.run(handle)
    finally:
        session.unload(handle)


def test_the_parity_command_tells_it(emulated: Emulated) -> None:
    told = emulated.shell("devices", "parity", "pi", "--space", "g2p", "--operators", "2", "--json").json
    assert told["target"].startswith("pi/onnxruntime-")
    assert [each["passed"] for each in told["operators"]] == [True] * 3, "two, and the empty graph"


def test_nothing_is_timed_there(emulated: Emulated) -> None:
    ran = emulated.shell("profile", "--space", "g2p", "--device", "pi", "--out", "pi.lut.jsonl")
    assert "'pi' is emulated: its times are the emulator's, and nothing is timed there" in ran.refusal
    assert "exporting" not in ran.err
    assert not (emulated.shell.folder / "pi.lut.jsonl").exists()
    known = known_graph(emulated.device("pi"), emulated.shell.folder)
    with closing(open_session(emulated.device("pi"))) as session:
        handle = session.load(Program.single(known))
        for timed in (lambda: session.time(handle, 1), lambda: session.reference("compute", 1)):
            with pytest.raises(SessionError, match="pi is emulated: what its emulator takes is no latency"):
                timed()


def test_a_bundle_is_deployed_and_answers_without_a_host(
    emulated: Emulated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = exported(tmp_path / "the 'bundle'", monkeypatch, LocalDevice(name="here", kind="local"))
    told = emulated.shell("deploy", bundle, "--device", "pi", "--json").json
    assert told["source"] == "emulated"
    assert "measured_ms" not in told
    assert set(told["parity"]) == {"encoder", "decoder_step"}
    assert all(entry["max_abs_error"] <= entry["tolerance"] for entry in told["parity"].values())
    assert (told["answers"]["asked"], told["answers"]["equal"], told["held"]) == (5, 5, None)

    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["deployments"] == {"pi": told}
    text, answer = next(iter(manifest["examples"].items()))
    assert Bundle(bundle)(text) == answer, "with its new manifest it is a bundle still"
    done = emulated.board.ssh(told["command"], text)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{answer}\n", "")
    there = emulated.board.home / ".hwnas" / "bundles" / bundle.name / "manifest.json"
    assert json.loads(there.read_text()) == manifest

    (bundle / "encoder.onnx").write_bytes(b"changed")
    refused = emulated.shell("deploy", bundle, "--device", "pi").refusal
    assert "encoder.onnx is not the file that was exported" in refused
    assert emulated.board.ssh(told["command"], text).stdout == f"{answer}\n", "what runs there is what it was"


def test_a_bundle_of_tvm_is_compiled_here_and_answers_there(
    emulated: Emulated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of TVM the board has its runtime library alone. Nothing is timed there, so the bundle is first made for here."""
    here = LocalDevice(name="here", kind="local", runtime="tvm")
    bundle, device = exported(tmp_path / "tvm", monkeypatch, here), emulated.device("pi-tvm")
    with exporter_for(device) as exporter:
        graphs = as_deployed(FAMILY, "tvm").graphs(toy_model(), FIXED)
        write_graphs(graphs, bundle, exporter, "fp32")
    manifest = json.loads((bundle / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        entry["sha256"] = sha256_of(bundle / name)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    told = emulated.shell("deploy", bundle, "--device", "pi-tvm", "--json").json
    assert all(entry["max_abs_error"] <= entry["tolerance"] for entry in told["parity"].values())
    asked = len(manifest["examples"])
    assert (told["answers"]["asked"], told["answers"]["equal"]) == (asked, asked)
    assert asked > 0


def test_clean_leaves_the_home_as_it_was(emulated: Emulated) -> None:
    """The last test: the board is bare after it."""
    cleaned = emulated.shell("devices", "clean", "pi", "--json").json
    assert cleaned["freed_bytes"] > 100e6
    assert [path.name for path in emulated.board.home.iterdir()] == []


def toy_model() -> Any:
    """As it is before training."""
    import torch

    from hwnas.families.base import Vocabularies

    torch.manual_seed(0)
    task = toy_task()
    sizes = Vocabularies(len(task.source_vocabulary), len(task.target_vocabulary))
    return FAMILY.model(SPACE, SPACE.extreme(-1), sizes).eval()


def exported(out: Path, monkeypatch: pytest.MonkeyPatch, here: LocalDevice) -> Path:
    """A bundle of the toy model."""
    from hwnas.deploy import measured
    from hwnas.deploy.bundle import Promise
    from hwnas.deploy.export import export_bundle

    monkeypatch.setattr(measured, "ROUNDS", 2)
    workload = SPACE.workload if here.runtime == "onnxruntime" else FIXED
    export_bundle(
        SPACE, FAMILY, SPACE.extreme(-1), toy_model(), toy_task(), workload, here, Promise(5.0), out,
        decoded=5, with_quality=False,
    )  # fmt: skip
    return out
