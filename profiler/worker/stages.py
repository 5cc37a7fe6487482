"""The stages of a program: their reference inputs, their wiring, memory for their values, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from .protocol import Request, WorkerError

Arrays = dict[str, Any]
ALIGNMENT = 64


class Graph(Protocol):
    """A stage's graph that keeps its inputs, at first its reference's, and its last outputs."""

    @property
    def inputs(self) -> Iterable[str]:
        """Their names."""

    @property
    def run(self) -> Callable[[], object]:
        """Runs it, to its end."""

    def giving(self, name: str, value: Any) -> Callable[[], object]:
        """What gives an input, each time it is called, a value that is made ready now."""

    def taking(self, name: str, origin: Any, output: str, where: str) -> Callable[[], object]:
        """What gives an input what ``origin``, such a graph or this one, put out last; errors begin with ``where``."""

    def results(self) -> Arrays:
        """Its last outputs, by name."""


class Chain:
    """A program of such graphs, made of stages by ``opened``.

    ``calls`` is what one call of the program runs, in order: what an input is given before an iteration, if it
    changes, as a deployed loop must, and the iteration. What an earlier stage gave is given once.
    """

    def __init__(self, stages: list[Request], opened: Callable[[Request, Arrays], Graph]) -> None:
        require_stages(stages)
        self.stages = stages
        self.references = [inputs_of(stage) for stage in stages]
        self.graphs: dict[str, Any] = {}
        self.calls: list[Callable[[], object]] = []
        for stage, reference in zip(stages, self.references, strict=True):
            graph = opened(stage, reference)
            check_wiring(stage, list(graph.inputs))
            self.graphs[stage["name"]] = graph
            for iteration in range(stage["repeat"]):
                for name in graph.inputs:
                    self._wire(stage, graph, name, iteration, reference)
                self.calls.append(graph.run)

    def _wire(self, stage: Request, graph: Graph, name: str, iteration: int, reference: Arrays) -> None:
        where = f"stage {stage['name']}: input {name}"
        if name in stage["carry"] and iteration > 0:
            self.calls.append(graph.taking(name, graph, stage["carry"][name], where))
        elif name in stage["carry"] or name == stage["counter"]:
            self.calls.append(graph.giving(name, source(stage, name, iteration, {}, reference)))
        elif iteration == 0 and name in stage["feeds"]:
            origin, _, output = stage["feeds"][name].partition(".")
            self.calls.append(graph.taking(name, lookup(self.graphs, origin, where), output, where))

    def evaluate(self, replaced: Arrays | None) -> Arrays:
        """Outputs of the last stage by the calls that are timed, with other inputs of the first if any.

        The reference's are put back. Raises :class:`WorkerError` for an input that the first stage does not have.
        """
        others, reference = replaced or {}, self.references[0]
        in_order = list(self.graphs.values())
        check_replaced(others, reference)
        try:
            for name, value in others.items():
                in_order[0].giving(name, value)()
            for call in self.calls:
                call()
        finally:
            for name in others:
                in_order[0].giving(name, reference[name])()
        return dict(in_order[-1].results())

    def clear(self) -> None:
        """Let go of everything."""
        self.calls.clear()
        self.graphs.clear()


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
