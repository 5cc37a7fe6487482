"""Node times of a graph, from the events of ONNX Runtime's profiler; what calls usually take, for every runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from .protocol import Request, WorkerError


def node_times(events: list[Request], runs: int, calls: int) -> list[Request]:
    """Microseconds of every node in a call of ``runs`` runs, from the last ``calls`` calls of a profile.

    Durations are cut to whole microseconds, more than a small kernel takes. So a node's time is
    from its start to the next one's start: starts are cut too, but the mean of their differences
    is right.
    """
    found: list[list[Request]] = [[]]
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            found[-1].append(event)
        elif found[-1]:
            found.append([])
    found = [run for run in found if run][-runs * calls :]
    if len(found) < runs * calls or any(len(run) != len(found[0]) for run in found):
        raise WorkerError("this graph does not run the same nodes each time; it cannot be profiled")
    starts = np.array([[event["ts"] for event in run] for run in found], np.float64)
    lasts = np.array([[event["dur"] for event in run] for run in found], np.float64)
    steps = np.diff(starts, axis=1)
    between = float(np.median(steps - lasts[:, :-1])) if steps.size else 0.0
    steps = np.hstack([steps, lasts[:, -1:] + between]).reshape(calls, runs, -1).sum(axis=1)
    return [
        {"name": event["name"].removesuffix("_kernel_time"), "op": event["args"]["op_name"], "us": round(us, 3)}
        for event, us in zip(found[0], usual(steps).tolist(), strict=True)
    ]


def usual(times: Any) -> Any:
    """Of shape (calls, …): blocks of calls are averaged, and of these the lower half."""
    blocks = np.sort([block.mean(axis=0) for block in np.array_split(times, min(len(times), 20))], axis=0)
    return blocks[: (len(blocks) + 1) // 2].mean(axis=0)
