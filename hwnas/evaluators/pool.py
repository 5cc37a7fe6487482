"""Candidates evaluated side by side in other processes: the same losses, in the same order, whatever dies."""

from __future__ import annotations

import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from hwnas.errors import SearchError
from hwnas.space import Candidate

T = TypeVar("T")
"""A loss; whatever else is told of a candidate can be had likewise."""

DEATHS = 3
"""Workers that may die one after another without a single loss in between before a search ends."""


@dataclass(frozen=True, slots=True)
class StoredLoss(Generic[T]):
    """A loss function in a file, which every process that calls this reads once: weights and data travel no more.

    ``threads`` are torch's in each process: how sums are split up shows in the last bits of a loss.
    """

    path: Path
    threads: int

    @classmethod
    def store(cls, loss_of: Callable[[Candidate], T], path: Path, threads: int = 1) -> StoredLoss[T]:
        """Write ``loss_of`` (whatever can be pickled) to ``path``, which no other loss may have had before."""
        with path.open("xb") as stream:
            pickle.dump(loss_of, stream, protocol=pickle.HIGHEST_PROTOCOL)
        return StoredLoss(path, threads)

    def __call__(self, candidate: Candidate) -> T:
        """What the loss function says."""
        loss_of: Callable[[Candidate], T] = _loaded(self.path, self.threads)
        return loss_of(candidate)


@lru_cache(maxsize=1)
def _loaded(path: Path, threads: int) -> Callable[[Candidate], Any]:
    with path.open("rb") as stream:
        loss_of: Callable[[Candidate], Any] = pickle.load(stream)
    if "torch" in sys.modules:  # which reading it has imported, if it has weights
        import torch

        torch.set_num_threads(threads)
    return loss_of


@contextmanager
def evaluating(
    loss_of: Callable[[Candidate], T], workers: int = 1, *, say: Callable[[str], None] = lambda line: None
) -> Iterator[Callable[[Sequence[Candidate]], Iterator[T]]]:
    """An :class:`~hwnas.search.protocol.Evaluator` of ``loss_of``: in this process, or on a :class:`LocalPool`.

    One worker is this process; others have as many threads as torch has here. Raises as :class:`LocalPool`.
    """
    if workers == 1:
        yield lambda candidates: map(loss_of, candidates)
        return
    import torch

    with LocalPool(loss_of, workers, threads=torch.get_num_threads(), say=say) as pool:
        yield pool


def losses_from(executor: Executor, loss_of: Callable[[Candidate], T], candidates: Sequence[Candidate]) -> Iterator[T]:
    """Losses in order, each as soon as it and all before it are known, by any executor.

    ``loss_of`` must be picklable where the executor's workers are other processes: a :class:`StoredLoss`.
    What the function raises comes through, and so does the executor's own error for a worker that died.
    """
    with _without_interrupt():
        futures: deque[Future[T]] = deque(executor.submit(loss_of, candidate) for candidate in candidates)
    try:
        while futures:
            yield futures[0].result()
            futures.popleft()
    finally:
        for future in futures:
            future.cancel()


class LocalPool(Generic[T]):
    """An :class:`~hwnas.search.protocol.Evaluator` on ``workers`` processes of this machine; use it in ``with``.

    The losses do not depend on the number of workers. A worker that dies is said in one line, and what it had
    is done again by a new one. Leaving the block early ends every worker at once, and so does the end of this
    process, however it ends.
    """

    def __init__(
        self,
        loss_of: Callable[[Candidate], T],
        workers: int,
        *,
        threads: int = 1,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """``threads`` are torch's in each worker. Raises :class:`SearchError` for fewer than one worker."""
        if workers < 1:
            raise SearchError(f"{workers} workers: at least 1 is needed")
        self._loss_of, self._workers, self._threads, self._say = loss_of, workers, threads, say

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="hwnas-")
        self._stored = StoredLoss.store(self._loss_of, Path(self._folder.name) / "loss.pickle", self._threads)
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self._folder.cleanup()

    def __call__(self, candidates: Sequence[Candidate]) -> Iterator[T]:
        """Losses in order. Raises :class:`SearchError` if workers die again and again without a loss in between."""
        left, deaths = deque(candidates), 0
        while left:
            try:
                for loss in losses_from(self._executor, self._stored, left):
                    left.popleft()
                    deaths = 0
                    yield loss
            except BrokenProcessPool:
                deaths += 1
                if deaths == DEATHS:
                    raise SearchError(
                        f"worker processes died {DEATHS} times in a row (the next candidate is {left[0].key});"
                        " out of memory? Run the same command again, with fewer workers"
                    ) from None
                self._say(f"note: a worker process died; {len(left)} candidates go on in new ones")
                self._close()
                self._open()

    def _open(self) -> None:
        from multiprocessing import get_context

        context = get_context("spawn")  # a fork of a process that has run torch may hang
        reader, self._lifeline = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            self._workers, mp_context=context, initializer=_end_with, initargs=(reader,)
        )

    def _close(self) -> None:
        self._lifeline.close()
        self._executor.shutdown(wait=True, cancel_futures=True)


def _end_with(lifeline: Connection) -> None:
    """End this worker, in the middle of whatever it does, when the other end of ``lifeline`` is closed."""
    import os
    import threading

    def wait() -> None:
        try:
            lifeline.recv()
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _without_interrupt() -> Iterator[None]:
    """Processes started inside never see Ctrl-C, which is this process's to handle, after the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
