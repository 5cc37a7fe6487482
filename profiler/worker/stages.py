"""The stages of a program: their reference inputs, their wiring, memory for their values, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from .protocol import Request, WorkerError

Arrays = dict[str, Any]
ALIGNMENT = 64


class Graph(Protocol):
    """A stage's graph that keeps its inputs."""

    def set(self, name: str, value: Any) -> None:
        """Give an input."""

    def results(self) -> Arrays:
        """Its last outputs, by name."""


def require_stages(stages: list[Request]) -> None:
    """Refuse a program without stages, or with two of one name."""
    if not stages or len({stage["name"] for stage in stages}) < len(stages):
        raise WorkerError("a program needs stages, and each a name of its own")


def inputs_of(stage: Request) -> Arrays:
    """The reference inputs of a stage's graph."""
    with np.load(stage["reference"], allow_pickle=False) as stored:
        return {key[6:]: stored[key] for key in stored.files if key.startswith("input/")}


def outputs_of(stage: Request) -> list[str]:
    """The names of the outputs of a stage's graph."""
    with np.load(stage["reference"], allow_pickle=False) as stored:
        return [key[7:] for key in stored.files if key.startswith("output/")]


def check_wiring(stage: Request, inputs: list[str]) -> None:
    """Refuse a stage that wires an input its graph does not have, or carries one from nowhere."""
    counter = [] if stage["counter"] is None else [stage["counter"]]
    for name in [*stage["carry"], *stage["feeds"], *stage["initial"], *counter]:
        if name not in inputs:
            raise WorkerError(f"stage {stage['name']}: no input {name!r}; known: {', '.join(inputs)}")
    for name in stage["carry"]:
        if name not in stage["initial"]:
            raise WorkerError(f"stage {stage['name']}: input {name} is carried, but has no initial shape")


def source(stage: Request, name: str, iteration: int, known: dict[str, Arrays], reference: Arrays) -> Any:
    """What an input is given in an iteration; ``known`` has the last outputs of each stage so far."""
    where = f"stage {stage['name']}: input {name}"
    if name in stage["carry"]:
        if iteration > 0:
            return lookup(known[stage["name"]], stage["carry"][name], where)
        return np.zeros(stage["initial"][name], lookup(reference, name, where).dtype)
    if name in stage["feeds"]:
        origin, _, output = stage["feeds"][name].partition(".")
        return lookup(lookup(known, origin, where), output, where)
    if name == stage["counter"]:
        return np.array([iteration], np.int64)
    return lookup(reference, name, where)


def lookup(values: dict[str, Any], name: str, where: str) -> Any:
    """``values[name]``, or an error that says what is missing and what there is."""
    if name not in values:
        raise WorkerError(f"{where} needs {name!r}; known: {', '.join(values) or 'nothing'}")
    return values[name]


def size_bytes(shape: tuple[int, ...], dtype: Any) -> int:
    """Bytes an array takes."""
    return int(np.prod(shape, dtype=np.int64)) * int(np.dtype(dtype).itemsize)


def aligned(size: int) -> Any:
    """Bytes that start at a multiple of 64, as the runtime's allocator gives them."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def check_replaced(replaced: Arrays, reference: Arrays) -> None:
    """Refuse to replace an input that the first stage does not have."""
    unknown = sorted(set(replaced) - set(reference))
    if unknown:
        raise WorkerError(f"no input {', '.join(unknown)}; known: {', '.join(reference)}")


def evaluate(
    graphs: Mapping[str, Graph], calls: list[Callable[[], object]], reference: Arrays, replaced: Arrays | None
) -> Arrays:
    """Outputs of the last of ``graphs`` by ``calls``, with other inputs of the first if any; ``reference`` is put back.

    Raises :class:`WorkerError` for an input that is not in ``reference``.
    """
    in_order, others = list(graphs.values()), replaced or {}
    first, last = in_order[0], in_order[-1]
    check_replaced(others, reference)
    try:
        for name, value in others.items():
            first.set(name, value)
        for call in calls:
            call()
    finally:
        for name in others:
            first.set(name, reference[name])
    return last.results()
