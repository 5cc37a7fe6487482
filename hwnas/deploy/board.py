"""Deploy a bundle to a board: laid out there, compared with PyTorch there, timed there, and left runnable."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from exporters import Artifact
from exporters.artifact import sha256_of
from exporters.errors import ArtifactError
from hwnas.deploy.bundle import MANIFEST, RUNNER, add_deployment
from hwnas.deploy.graphs import BundleError
from hwnas.deploy.measured import errors_of, measure_bundle
from hwnas.deploy.remote import RemoteBundle
from hwnas.deploy.runner import Bundle
from hwnas.deploy.verify import format_in, open_bundle
from hwnas.errors import DeployError
from hwnas.families.base import GraphStage
from hwnas.profiling import Progress, opened, program_of, quietly
from profiler import Device, Program, check_parity, open_session
from profiler.boards import OnBoard
from profiler.exporting import format_of
from profiler.hardware import SshDevice
from profiler.sustained import sustain
from profiler.transports.ssh import SshTransport, open_ssh

LAUNCHER = "hwnas-run"
_TIMEOUT_S = 900.0

Say = Callable[[str], None]


def deploy(
    folder: Path,
    device: SshDevice,
    *,
    sustained_s: float | None = None,
    say: Say = lambda message: None,
    measuring: Progress = quietly,
    sustaining: Callable[[float, float], None] = lambda done, total: None,
    waiting: Say | None = None,
) -> dict[str, Any]:
    """Put the bundle in ``folder`` on ``device`` and return what was seen there, which its manifest tells from now on.

    On an emulated device, or by a virtual clock, outputs are compared and nothing is timed. ``sustained_s`` is how long
    the bundle then runs without a pause. Interrupted while measuring, the same call goes on. Raises
    :class:`DeployError` for a bundle that cannot be trusted, :class:`profiler.ParityError` if outputs there are not
    PyTorch's, and :class:`profiler.ProfilerError` if the board fails.
    """
    manifest = trusted_manifest(folder)
    form = manifest.get("format", "onnx")
    if format_of(device.runtime) != form:
        raise DeployError(
            f"the bundle holds {form} graphs, and {device.name} runs {device.runtime}; name a device of devices.yaml"
            " that runs those, or export it for this one"
        )
    stages = [GraphStage(**stage) for stage in manifest["stages"]]
    artifacts = {stage.graph: _artifact(folder / f"{stage.graph}.{form}") for stage in stages}
    program = program_of(stages, artifacts)
    with closing(open_ssh(device)) as transport:
        if transport.python == "python3":
            raise DeployError(f"{device.name} has nothing to run a bundle with; run: hwnas devices setup {device.name}")
        say(f"sending the bundle to {device.name}")
        command = _place(folder, manifest, device.name, transport)
        seen: dict[str, Any] = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "command": command}
        remedy = f"run: hwnas devices setup {device.name}"
        if form == "tvm":
            remedy += f", or export it for this board: hwnas export --device {device.name}"
        seen["answers"] = _answers(manifest.get("examples") or {}, device.name, transport, command, remedy, say)
    journal = None
    if not device.measures:
        say(f"comparing with PyTorch on {device.name}")
        seen |= _compared(artifacts, device)
    else:
        journal = folder.with_name(f".{folder.name}.{device.name}.journal.jsonl")
        say(f"comparing and measuring on {device.name}")
        measured = measure_bundle(
            "bundle", program, artifacts, device, journal,
            workload=manifest["workload"], about=manifest["space"],
            meta={"role": "bundle", "candidate": manifest["architecture"]},
            measuring=measuring, waiting=waiting,
        )  # fmt: skip
        seen |= {"source": "measured", **measured.as_dict(), "sustained": None}
        if sustained_s is not None:
            say(f"running without a pause on {device.name}")
            seen["sustained"] = _sustained(program, device, sustained_s, sustaining, waiting)
    seen["held"] = held_by(seen, manifest["limit_ms"])
    manifest = add_deployment(folder, device.name, seen, journal)
    with closing(open_ssh(device)) as transport:
        _place(folder, manifest, device.name, transport)  # the board's manifest says what was seen there, too
    if journal is not None:
        journal.unlink()
    return seen


@contextmanager
def opened_where_it_runs(
    folder: Path, device: Device, waiting: Callable[[str], None] | None = None
) -> Iterator[Bundle]:
    """The bundle that was exported for ``device``: graphs compiled for a board's processor are run there, others here.

    Nobody else measures on the board meanwhile. Raises :class:`DeployError` if it cannot be opened.
    """
    if not (isinstance(device, SshDevice) and format_in(folder) == "tvm"):
        with closing(open_bundle(folder)) as bundle:
            yield bundle
        return
    with closing(open_ssh(device)) as transport:
        transport.lock(waiting)
        place = transport.scratch("bundle")
        _lay_out(folder, trusted_manifest(folder), place, device.name, transport)
        try:
            bundle = RemoteBundle(folder, transport.start, transport.python, place)
        except BundleError as exc:
            raise DeployError(f"{device.name}: {exc}; run: hwnas devices setup {device.name}") from exc
        with closing(bundle):
            yield bundle


def _place(folder: Path, manifest: Mapping[str, Any], device: str, transport: SshTransport) -> str:
    """Lay the bundle out on the board to stay; the command that runs it there."""
    place, command = f"{transport.folder}/bundles/{folder.resolve().name}", f"{transport.folder}/bin/{LAUNCHER}"
    run = f'#!/bin/sh\nexec {shlex.quote(transport.python)} {shlex.quote(f"{place}/{RUNNER}")} "$@"\n'
    there = _lay_out(folder, manifest, place, device, transport, {LAUNCHER: run})
    there.do("write", path=command, text=f'#!/bin/sh\nexec {shlex.quote(f"{place}/{LAUNCHER}")} "$@"\n')
    return command


def _lay_out(
    folder: Path,
    manifest: Mapping[str, Any],
    place: str,
    device: str,
    transport: SshTransport,
    executable: Mapping[str, str] | None = None,
) -> OnBoard:
    """Put the bundle's files in ``place`` on the board as they are here, each by its hash, and programs beside them."""
    digests = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    digests[MANIFEST] = sha256_of(folder / MANIFEST)
    files = {name: {"path": transport.put(folder / name), "sha256": digest} for name, digest in digests.items()}
    there = OnBoard(device, transport, transport.python)
    there.do("folder", target=place, files=files, executable=dict(executable or {}))
    return there


def _answers(
    examples: Mapping[str, str], device: str, transport: SshTransport, command: str, remedy: str, say: Say
) -> dict[str, object]:
    """What the board answers by itself to the inputs whose answers the manifest tells."""
    if not examples:
        say("note: the bundle was exported without examples; what it answers there is not compared")
        return {"asked": 0, "equal": 0, "different": []}
    done = transport.run([command, *examples], timeout_s=_TIMEOUT_S)
    lines = done.stdout.splitlines()
    if done.status != 0 or len(lines) != len(examples):
        words = done.stderr.strip().splitlines() or [f"it ended with {done.status}"]
        raise DeployError(f"{device}: {command} does not run there: {words[-1]}; {remedy}")
    pairs = zip(examples.items(), lines, strict=True)
    different = [f"{text}: {line!r} instead of {wanted!r}" for (text, wanted), line in pairs if line != wanted]
    return {"asked": len(examples), "equal": len(examples) - len(different), "different": different}


def _compared(artifacts: Mapping[str, Artifact], device: SshDevice) -> dict[str, object]:
    with closing(open_session(device)) as session:
        target, parity = session.target, {}
        for name, artifact in artifacts.items():
            handle = session.load(Program.single(artifact))
            parity[name] = errors_of(check_parity(artifact, session.run(handle), str(target)))
            session.unload(handle)
        facts = session.facts()
    return {"source": "emulated", "target": str(target), "parity": parity, "environment": facts}


def _sustained(
    program: Program,
    device: SshDevice,
    seconds: float,
    sustaining: Callable[[float, float], None],
    waiting: Say | None,
) -> dict[str, object]:
    with opened(device, waiting) as session:
        return sustain(session, session.load(program), seconds, sustaining).as_dict()


def held_by(seen: Mapping[str, Any], limit_ms: float | None) -> bool | None:
    """Whether the limit was kept, in a burst and, if that was looked at, in the long run; None if nothing tells."""
    if limit_ms is None or "measured_ms" not in seen:
        return None
    sustained = seen["sustained"]
    return bool(max(seen["measured_ms"], sustained["latency_ms"] if sustained else 0.0) <= limit_ms)


def _artifact(path: Path) -> Artifact:
    try:
        return Artifact.load(path)
    except ArtifactError as exc:
        raise DeployError(str(exc)) from exc


def trusted_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle all of whose files are those that were exported; raises :class:`DeployError`.

    Nothing is run: a graph may be compiled for a board alone.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        digests = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    except FileNotFoundError:
        raise DeployError(f"{folder} is not a bundle: {MANIFEST} is missing") from None
    except OSError as exc:
        raise DeployError(f"{folder} cannot be read: {exc.strerror}: {exc.filename}") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise DeployError(f"{folder} is no bundle, or is damaged ({exc!r}); export it again") from exc
    for name, digest in digests.items():
        if not (folder / name).is_file():
            raise DeployError(f"{folder}: {name} is missing; export it again")
        if sha256_of(folder / name) != digest:
            raise DeployError(f"{folder}: {name} is not the file that was exported; export it again")
    return manifest


def describe(seen: Mapping[str, Any], manifest: Mapping[str, Any], device: str) -> str:
    """What was seen on a board, and at last whether the promise held, in a few lines."""
    lines = [
        f"{graph}: largest difference from PyTorch there {parity['max_abs_error']:.1e}"
        f" ({parity['tolerance']:.1e} allowed)"
        for graph, parity in seen["parity"].items()
    ]
    answers = seen["answers"]
    if answers["asked"]:
        lines.append(f"{answers['equal']} of {answers['asked']} inputs are answered there as here: {seen['command']}")
        lines += [f"DIFFERENT: {each}" for each in answers["different"]]
    if seen["source"] == "emulated":
        return "\n".join([*lines, f"{device} is emulated: its outputs are right, and no latency is told from there"])
    low, high = seen["interval_ms"]
    unstable = " (UNSTABLE: its rounds did not agree)" if seen["status"] == "unstable" else ""
    lines.append(f"burst: {seen['measured_ms']:.4f} ms ({low:.4f}-{high:.4f}) on {seen['target']}{unstable}")
    if (sustained := seen["sustained"]) is not None:
        knee = sustained["knee_s"]
        slows = "it does not slow down" if knee is None else f"it slows down after {knee:.0f} s"
        lines.append(f"sustained for {sustained['seconds'] / 60:.1f} min: {sustained['latency_ms']:.4f} ms; {slows}")
    if (predicted_ms := manifest["predicted_ms"]) is not None:
        off = seen["measured_ms"] / predicted_ms - 1
        lines.append(f"predicted {predicted_ms:.4f} ms for {manifest['predicted_for']}: off by {off:+.1%}")
    limit_ms = manifest["limit_ms"]
    verdict = "no limit was promised" if limit_ms is None else f"limit {limit_ms:.4f} ms: {_verdict(seen['held'])}"
    return "\n".join([*lines, f"{device}: {verdict}"])


def _verdict(held: bool) -> str:
    return "held" if held else "BROKEN"
