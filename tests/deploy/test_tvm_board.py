"""A bundle compiled for a board's processor: its decoding is compared there, and it is deployed like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contracts.toolchains import need
from ssh.sshd import Sshd, require_sshd

from exporters.artifact import sha256_of
from hwnas.deploy import board, measured
from hwnas.deploy.verify import open_bundle
from hwnas.errors import DeployError
from profiler.errors import DeviceError
from profiler.exporting import exporter_for
from profiler.hardware import SshDevice
from profiler.toolchain.place import installed_python
from tests.training.toy import SPACE

WORKLOAD = replace(SPACE.workload, source_tokens=6, target_tokens=6, cache=4)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshDevice]:
    """A board that has TVM's runtime, of the very processor this machine has."""
    require_sshd()
    need("tvm")
    server = Sshd(tmp_path_factory.mktemp("board") / "s").start()
    config = tmp_path_factory.mktemp("config")
    (config / "hwnas").mkdir()
    (config / "hwnas" / "known_hosts").write_text(server.known_host)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(config))
        patch.setattr(measured, "ROUNDS", 2)
        yield server.device(runtime="tvm", tvm_target="native", python=str(installed_python("tvm")))
    server.stop()


@pytest.fixture(scope="module")
def bundle(export: Any, device: SshDevice, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(board, "open_bundle", lambda *_: pytest.fail("it may be of another architecture"))
        export(folder, device=device, workload=WORKLOAD, with_quality=False)
    return folder


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_it_is_decoded_where_it_runs(bundle: Path) -> None:
    manifest = manifest_of(bundle)
    assert manifest["proof"]["target"].startswith("pi/tvm-")
    assert (manifest["proof"]["decoding"]["inputs"], manifest["proof"]["decoding"]["different"]) == (25, 0)
    with closing(open_bundle(bundle)) as here:  # this board has our processor
        assert {text: here(text) for text in manifest["examples"]} == manifest["examples"]


@pytest.mark.slow
def test_it_is_deployed(bundle: Path, device: SshDevice, tmp_path: Path) -> None:
    seen = board.deploy(Path(shutil.copytree(bundle, tmp_path / "b")), device)
    assert seen["target"].startswith("pi/tvm-")
    asked = len(manifest_of(bundle)["examples"])
    assert seen["answers"] == {"asked": asked, "equal": asked, "different": []}
    assert asked > 0


@pytest.mark.slow
def test_one_that_was_compiled_for_another_says_how_to_make_one(
    bundle: Path, device: SshDevice, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "b"))
    library = other / "encoder.tvm"
    content = bytearray(library.read_bytes())
    content[18:20] = b"\x16\x00"  # e_machine: S/390
    library.write_bytes(content)
    sidecar, manifest = other / "encoder.tvm.json", manifest_of(other)
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"sha256": sha256_of(library)}))
    for path in (library, sidecar):
        manifest["files"][path.name]["sha256"] = sha256_of(path)
    (other / "manifest.json").write_text(json.dumps(manifest))
    message = r"encoder\.tvm does not load here: .*, or export it for this board: hwnas export --device pi$"
    with pytest.raises(DeployError, match=message):
        board.deploy(other, device)


def test_a_board_whose_processor_is_not_known_is_compiled_for_by_nobody() -> None:
    asked = SshDevice(name="pi", kind="ssh", host="pi").model_copy(update={"runtime": "tvm"})
    with pytest.raises(DeviceError, match=r"^pi does not say what to compile for; put tvm_target: below it"):
        exporter_for(asked)
