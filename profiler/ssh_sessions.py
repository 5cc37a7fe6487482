"""Sessions on a board, one after another, through a connection that is made anew when it is lost."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Self

from profiler.errors import ConnectionLostError, SessionError, TransportError
from profiler.hardware import SshDevice
from profiler.transports.ssh import SshTransport
from profiler.transports.ssh_wire import Patience
from profiler.worker_session import WorkerSession

_RETRY_S = 2.0
_OLDEST_PYTHON = (3, 11)
_log = logging.getLogger(__name__)


class SshSessions:
    """Opens sessions on ``device`` with nobody else measuring there; use it with ``with``.

    For ``waiting`` see :func:`profiler.lock.alone_on`.
    """

    def __init__(
        self, device: SshDevice, waiting: Callable[[str], None] | None = None, patience: Patience | None = None
    ) -> None:
        self._device = device
        self._waiting = waiting
        self._patience = patience or Patience()
        self._owner = uuid.uuid4().hex
        self._transport: SshTransport | None = None
        self._boot: str | None = None

    def open(self) -> WorkerSession:
        """A session, in a new process there.

        A board that was lost is tried again for a while; one that never answered is not. Raises
        :class:`profiler.TransportError` and :class:`profiler.SessionError`.
        """
        deadline = time.monotonic() + (self._patience.reach_s if self._boot is not None else 0.0)
        while True:
            try:
                return self._session()
            except (ConnectionLostError, SessionError) as exc:
                lost = isinstance(exc, ConnectionLostError) or isinstance(exc.__cause__, ConnectionLostError)
                if not lost:
                    raise
                self._drop()
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TransportError(str(exc)) from exc
                _log.warning("%s; trying again for %.0f s", exc, left_s)
            time.sleep(min(_RETRY_S, max(0.0, deadline - time.monotonic())))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def _session(self) -> WorkerSession:
        if self._transport is not None and self._transport.lost:
            self._drop()
        if self._transport is None:
            self._transport = SshTransport(self._device, self._owner, self._patience)
            boot = str(self._transport.board["boot"])
            if self._boot not in (None, boot):
                _log.warning("%s was started anew meanwhile", self._device.name)
            self._boot = boot
            self._require_python(str(self._transport.board["python"]))
            self._transport.lock(self._waiting)
        try:
            return WorkerSession(self._transport, self._device, keep_transport=True)
        except SessionError as exc:
            if "No module named" not in str(exc):
                raise
            raise SessionError(f"{exc}; run: hwnas devices setup {self._device.name}") from exc

    def _require_python(self, found: str) -> None:
        if tuple(map(int, found.split(".")[:2])) < _OLDEST_PYTHON:
            raise TransportError(
                f"{self._device.name} has Python {found}, and the worker needs 3.11 or later: install one there, and"
                f" put python: below {self._device.name} in devices.yaml"
            )

    def _drop(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
