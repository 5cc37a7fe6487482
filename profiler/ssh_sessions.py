"""Sessions on a board, one after another, through a connection that is made anew when it is lost."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Self

from profiler.boards.ready import Readiness, hold_governor
from profiler.errors import ConnectionLostError, SessionError, TransportError
from profiler.hardware import SshDevice
from profiler.transports import Channel
from profiler.transports.ssh import SshTransport
from profiler.transports.ssh_wire import Patience
from profiler.worker_session import WorkerSession

_RETRY_S = 2.0
_OLDEST_PYTHON = (3, 11)
_log = logging.getLogger(__name__)


class SshSessions:
    """Opens sessions on ``device`` with nobody else measuring there; use it with ``with``.

    For ``waiting`` see :func:`profiler.lock.alone_on`. A session is given once the board is ready
    (:class:`profiler.boards.ready.Readiness`), or ``as_it_is``.
    """

    def __init__(
        self,
        device: SshDevice,
        waiting: Callable[[str], None] | None = None,
        patience: Patience | None = None,
        *,
        as_it_is: bool = False,
    ) -> None:
        self._device = device
        self._waiting = waiting
        self._patience = patience or Patience()
        self._owner = uuid.uuid4().hex
        self._transport: SshTransport | None = None
        self._boot: str | None = None
        self._governor: Channel | None = None
        self._readiness = None if as_it_is else Readiness(device, _log.warning)

    def open(self) -> WorkerSession:
        """A session, in a new process there.

        A board that was lost is tried again for a while; one that never answered is not. Raises
        :class:`profiler.TransportError`, :class:`profiler.SessionError` and :class:`profiler.errors.BoardError`.
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
            self._transport = self._connected()
        try:
            session = WorkerSession(self._transport, self._device, keep_transport=True)
        except SessionError as exc:
            if "No module named" not in str(exc):
                raise
            raise SessionError(f"{exc}; run: hwnas devices setup {self._device.name}") from exc
        try:
            if self._readiness is not None:
                self._readiness.wait(session.facts)
        except BaseException:
            session.close()
            raise
        return session

    def _connected(self) -> SshTransport:
        transport = SshTransport(self._device, self._owner, self._patience)
        try:
            boot = str(transport.board["boot"])
            if self._boot not in (None, boot):
                _log.warning("%s was started anew meanwhile", self._device.name)
            self._boot = boot
            self._require_python(str(transport.board["python"]))
            transport.lock(self._waiting)
            if self._device.set_governor:
                self._governor = hold_governor(self._device, transport, transport.folder)
        except BaseException:
            transport.close()
            raise
        return transport

    def _require_python(self, found: str) -> None:
        if tuple(map(int, found.split(".")[:2])) < _OLDEST_PYTHON:
            raise TransportError(
                f"{self._device.name} has Python {found}, and the worker needs 3.11 or later: install one there, and"
                f" put python: below {self._device.name} in devices.yaml"
            )

    def _drop(self) -> None:
        governor, self._governor = self._governor, None
        if governor is not None:
            governor.close()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
