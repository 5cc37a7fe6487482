"""Keeps programs loaded while memory allows, and gives up the one not used for longest."""

from __future__ import annotations

from collections import OrderedDict

from profiler.plan import PlanItem
from profiler.session import TimingSession


class LoadedPrograms:
    """Handles of items, loaded when first asked for; the limit holds over all sessions together.

    One item is always loaded, however large.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._handles: OrderedDict[tuple[int, str], tuple[TimingSession, str, int]] = OrderedDict()

    def get(self, session: TimingSession, item: PlanItem) -> tuple[str, bool]:
        """The item's handle on this session, and whether it had to be loaded for that."""
        key = (id(session), item.name)
        if key in self._handles:
            self._handles.move_to_end(key)
            return self._handles[key][1], False
        while self._handles and self.used_bytes + item.loaded_bytes > self._limit_bytes:
            _, (owner, handle, _) = self._handles.popitem(last=False)
            owner.unload(handle)
        handle = session.load(item.program)
        self._handles[key] = (session, handle, item.loaded_bytes)
        return handle, True

    @property
    def used_bytes(self) -> int:
        """Estimated memory of what is loaded."""
        return sum(size for _, _, size in self._handles.values())

    def forget(self, session: TimingSession) -> None:
        """What was loaded on a session is gone with it."""
        for key in [key for key, (owner, _, _) in self._handles.items() if owner is session]:
            del self._handles[key]
