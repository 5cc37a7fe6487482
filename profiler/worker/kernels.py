"""Kernel times of a TVM graph: what its virtual machine tells before and after every instruction."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np

from .nodes import usual
from .protocol import Request, WorkerError

IDLE = "vm.builtin.null_value"
"""An instruction that does nothing: it empties a register."""
_BUILTIN = "vm.builtin."


class Instrument:
    """A virtual machine calls it before and after each instruction; it notes when, in ns, and which."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.entered: list[int] = []
        self.left: list[int] = []

    def __call__(self, function: Any, name: str, *rest: Any) -> None:
        """``rest``: whether it is before, what was returned, and the arguments."""
        self.entered.append(time.perf_counter_ns())
        self.names.append(name)
        self.left.append(time.perf_counter_ns())

    def taken(self) -> tuple[list[str], Any]:
        """Instructions since it was last asked, and shape (instructions, 2): ns during each, and just before it."""
        entered, left = np.array(self.entered, np.float64), np.array(self.left, np.float64)
        names = self.names[::2]
        before = entered[0::2] - np.concatenate([entered[:1], left[1:-1:2]])
        times = np.stack([entered[1::2] - left[0::2], before], axis=1)
        for kept in (self.names, self.entered, self.left):
            kept.clear()
        return names, times


def kernel_times(names: list[str], times: Any, runs: int) -> list[Request]:
    """Microseconds of every kernel in a call of ``runs`` runs, and how much of that watching costs (``cost_us``).

    ``names`` are the instructions of a call, ``times`` what :meth:`Instrument.taken` gave for each call: shape (calls,
    instructions, 2). Watching costs a microsecond and more, by the arguments that are handed over; it costs
    the same between two instructions, where nothing runs but the machine that goes on to the next. What that takes is
    seen at instructions that do nothing (:data:`IDLE`). The machine's own instructions are left out. Raises
    :class:`WorkerError` if the runs of a call are not of the same instructions.
    """
    each = len(names) // max(1, runs)
    if not each or names != names[:each] * runs:
        raise WorkerError("this graph does not run the same kernels each time; it cannot be profiled")
    during, before = usual(times.reshape(len(times), runs, each, 2).sum(axis=1)).T / 1e3 / runs
    idle = [place for place, name in enumerate(names[:each]) if name == IDLE and place]
    going_on = max(0.0, float(np.median(before[idle] - during[idle]))) if idle else 0.0
    before[0] = np.median(before[1:]) if each > 1 else 0.0  # what was before the first is not known
    return [
        {
            "name": name,
            "op": kind_of(name),
            "us": round(runs * float(during[place]), 4),
            "cost_us": round(runs * max(0.0, float(before[place]) - going_on), 4),
        }
        for place, name in enumerate(names[:each])
        if not name.startswith(_BUILTIN)
    ]


def kind_of(name: str) -> str:
    """``fused_dense1_add3`` is of the kind ``dense_add``, as is every kernel that differs in sizes alone."""
    return re.sub(r"\d+(?=_|$)", "", name.removeprefix("fused_"))
