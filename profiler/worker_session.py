"""A timing session over the worker: the same archive and the same lines, whatever the way to the device."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from profiler.errors import ConnectionLostError, SessionError, TransportError
from profiler.hardware import HardwareDevice, SshDevice
from profiler.program import Program
from profiler.session import ReferenceWorkload, Sample, Tensors, TimingSession
from profiler.target import Target
from profiler.transports import Transport
from profiler.worker_archive import pack_worker

REPLY_TIMEOUT_S = 900.0
"""The longest a device may take for one request (loading a large graph on a slow board)."""

SAMPLING_TIMEOUT_S, SAMPLING_TIMES = 60.0, 20.0
"""A worker hangs if samples take so much longer than, and so many times as long as, the last ones did."""


class WorkerSession:
    """Implements :class:`profiler.TimingSession`: starts the worker and talks to it.

    Closing it closes the transport too, unless that is to be kept. Raises :class:`profiler.SessionError` if the worker
    refuses a request, does not answer or dies; after that the session is of no more use.
    """

    def __init__(self, transport: Transport, device: HardwareDevice, *, keep_transport: bool = False) -> None:
        self._transport = transport
        self._keep_transport = keep_transport
        self._device = device.name
        self._emulated = isinstance(device, SshDevice) and device.emulated
        self._numbers = itertools.count(1)
        self._call_s: dict[str, float] = {}
        with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:  # who says hello has read all of the archive
            try:
                self._channel = transport.start([transport.python, "-u", transport.put(pack_worker(Path(folder)))])
            except BaseException:
                if not keep_transport:
                    transport.close()
                raise
            try:
                hello = self._ask(
                    "hello",
                    runtime=device.runtime,
                    threads=device.threads,
                    cores=None if device.cores is None else list(device.cores),
                    provider=device.provider,
                )
            except BaseException:
                self.close()
                raise
        self.pid = int(hello["pid"])
        self._target = Target(device.name, str(hello["runtime"]), device.threads, device.effective_clock)

    @property
    def target(self) -> Target:
        """Where this session runs; the runtime with the version found there."""
        return self._target

    def load(self, program: Program) -> str:
        """Send the graphs and references that are not there yet, and load them."""
        put = self._transport.put
        with _reopenable("load"):
            stages = [
                {
                    "name": stage.name,
                    "path": put(stage.artifact.path),
                    "reference": put(stage.artifact.reference),
                    "repeat": stage.repeat,
                    "feeds": dict(stage.feeds),
                    "carry": dict(stage.carry),
                    "initial": {name: list(shape) for name, shape in stage.initial.items()},
                    "counter": stage.counter,
                }
                for stage in program.stages
            ]
        return str(self._ask("load", stages=stages)["handle"])

    def unload(self, handle: str) -> None:
        """Free what ``load`` took."""
        self._ask("unload", handle=handle)

    def time(self, handle: str, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        """``samples`` samples of ``calls`` calls each, taken in a row on the device."""
        self._require_times()
        call_s = self._call_s.get(handle)
        patience_s = REPLY_TIMEOUT_S
        if call_s is not None:
            patience_s = min(patience_s, SAMPLING_TIMEOUT_S + SAMPLING_TIMES * call_s * calls * samples)
        reply = self._ask("time", patience_s, handle=handle, calls=calls, samples=samples)
        taken = _samples(calls, reply)
        self._call_s[handle] = max(sample.wall_ns for sample in taken) / calls / 1e9
        return taken

    def run(self, handle: str, inputs: Tensors | None = None) -> dict[str, npt.NDArray[np.generic]]:
        """Outputs of the last stage, by the very calls that are timed if ``inputs`` is None."""
        with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, _reopenable("run"):
            given = None
            if inputs is not None:
                path = Path(folder) / "inputs.npz"
                np.savez(path, **dict(inputs))  # type: ignore[arg-type]
                given = self._transport.put(path)
            outputs = self._transport.scratch("outputs.npz")
            self._ask("run", handle=handle, inputs=given, outputs=outputs)
            fetched = Path(folder) / "outputs.npz"
            self._transport.get(outputs, fetched)
            with np.load(fetched, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}

    def reference(self, workload: ReferenceWorkload, calls: int, samples: int = 1) -> tuple[Sample, ...]:
        """Samples of a workload that is built into the worker."""
        self._require_times()
        return _samples(calls, self._ask("reference", workload=workload, calls=calls, samples=samples))

    def counters(self) -> dict[str, int]:
        """What the worker has counted so far."""
        return dict(self._ask("counters")["counters"])

    def facts(self) -> dict[str, object]:
        """The environment, as the worker sees it."""
        return dict(self._ask("facts")["facts"])

    def survey(self, seconds: float) -> dict[str, object]:
        """What would disturb a measurement, looked at for ``seconds``; :func:`profiler.preflight.judge` reads it."""
        return self._ask("survey", seconds=seconds)

    def profile(self, handle: str, calls: int) -> dict[str, object]:
        """What each node of a program takes by the runtime's own profiler; :mod:`profiler.primitives` reads it."""
        return self._ask("profile", handle=handle, calls=calls)

    def close(self) -> None:
        """End the worker and close the transport."""
        with suppress(TransportError):
            self._channel.write_line('{"op":"quit"}')
        self._channel.close()
        if not self._keep_transport:
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_times(self) -> None:
        if self._emulated:
            raise SessionError(f"{self._device} is emulated: what its emulator takes is no latency")

    def _ask(self, operation: str, patience_s: float | None = None, /, **arguments: object) -> dict[str, Any]:
        number = next(self._numbers)
        try:
            with _reopenable(operation):
                self._channel.write_line(json.dumps({"id": number, "op": operation, **arguments}))
                while True:
                    line = self._channel.read_line(REPLY_TIMEOUT_S if patience_s is None else patience_s)
                    if line is None:
                        raise SessionError(self._died(operation))
                    reply = json.loads(line)
                    if reply.get("id") == number:
                        break
        except TransportError:
            raise SessionError(self._died(operation)) from None
        except TimeoutError as exc:
            raise SessionError(f"{self._device}: {operation}: {exc}") from exc
        except ValueError as exc:
            raise SessionError(f"{self._device}: the worker answered what is not JSON: {line!r}") from exc
        if "error" in reply:
            error = reply["error"]
            named = error["message"] if error["type"] == "WorkerError" else f"{error['type']}: {error['message']}"
            raise SessionError(f"{self._device}: {operation}: {named}")
        return dict(reply)

    def _died(self, operation: str) -> str:
        status = self._channel.close()
        last = self._channel.stderr_tail().strip().splitlines()
        if last:
            reason = last[-1]
        elif status is not None and status < 0:
            reason = f"ended by signal {-status}" + (" (out of memory?)" if status == -9 else "")
        else:
            reason = f"it said nothing (exit status {status})"
        return f"{self._device}: the worker died during {operation}: {reason}"


@contextmanager
def _reopenable(operation: str) -> Iterator[None]:
    """A lost connection ends the session, and another session may do what this one could not."""
    try:
        yield
    except ConnectionLostError as exc:
        raise SessionError(f"{exc} (during {operation})") from exc


def _samples(calls: int, reply: dict[str, Any]) -> tuple[Sample, ...]:
    both = zip(reply["wall_ns"], reply["cpu_ns"], strict=True)
    return tuple(Sample(calls, wall_ns, cpu_ns) for wall_ns, cpu_ns in both)


if TYPE_CHECKING:
    _: type[TimingSession] = WorkerSession
