"""Sessions that come and go: opened when first needed, opened anew when a worker died, closed after a round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from profiler.devices import Device, open_session, require_times
from profiler.errors import ConnectionLostError, JournalError, ProfilerError, SessionError
from profiler.hardware import SshDevice
from profiler.loaded import LoadedPrograms
from profiler.plan import PlanItem
from profiler.session import TimingSession
from profiler.target import Target

Opener = Callable[[], TimingSession]

_ATTEMPTS = 3


class Openings:
    """A session per target at a time; ``targets`` in the order of the openers."""

    def __init__(self, openers: Sequence[Opener], targets: Sequence[Target], limit_bytes: int) -> None:
        """Open every session once, to see whose target is whose.

        Raises :class:`JournalError` unless they are those of ``targets``, in any order.
        """
        self._loaded = LoadedPrograms(limit_bytes)
        self._openers: dict[str, Opener] = {}
        self._open: dict[str, TimingSession] = {}
        found: list[str] = []
        try:
            for opener in openers:
                session = _opened(opener)
                found.append(str(session.target))
                self.drop(found[-1])
                self._open[found[-1]] = session
                self._openers[found[-1]] = opener
            _require_same(found, list(map(str, targets)))
        except BaseException:
            self.close()
            raise

    def get(self, target: str) -> TimingSession:
        """The session of a target; opened, in a few attempts, if there is none."""
        if target not in self._open:
            self._open[target] = _opened(self._openers[target])
        return self._open[target]

    def load(self, target: str, item: PlanItem) -> tuple[str, bool]:
        """The item's handle on the target's session, and whether it was loaded just now."""
        return self._loaded.get(self.get(target), item)

    def drop(self, target: str) -> None:
        """Give up a session of which something failed; the next one is a new process."""
        session = self._open.pop(target, None)
        if session is not None:
            self._loaded.forget(session)
            with suppress(ProfilerError):
                session.close()

    def close(self) -> None:
        """Close all; they open anew when they are asked for."""
        for target in list(self._open):
            self.drop(target)


@contextmanager
def opener_of(
    device: Device, waiting: Callable[[str], None] | None = None, *, as_it_is: bool = False
) -> Iterator[Opener]:
    """What opens sessions on ``device``; a board keeps its connection, and its lock, until the end of the block.

    A board that is hot or throttled is waited for, unless it is wanted ``as_it_is``.

    Raises :class:`DeviceError` for a device on which nothing may be timed.
    """
    require_times(device)
    if not isinstance(device, SshDevice):
        yield partial(open_session, device)
        return
    from profiler.ssh_sessions import SshSessions

    with SshSessions(device, waiting, as_it_is=as_it_is) as sessions:
        yield sessions.open


def _require_same(found: list[str], wanted: list[str]) -> None:
    if sorted(found) != sorted(wanted):
        raise JournalError(f"the journal is of {', '.join(wanted)}; the sessions are {', '.join(found)}")


def _opened(opener: Opener) -> TimingSession:
    for _ in range(_ATTEMPTS - 1):
        with suppress(SessionError, ConnectionLostError):
            return opener()
    return opener()
