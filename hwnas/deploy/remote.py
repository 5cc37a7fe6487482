"""A bundle answered by its own runner in another process: in its runtime's own environment, or on a board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hwnas.deploy.bundle import RUNNER
from hwnas.deploy.graphs import BundleError
from hwnas.deploy.runner import Bundle, Ids, Ranking
from hwnas.errors import DeployError
from profiler.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from profiler.transports import Channel

_TIMEOUT_S = 300.0
"""The longest that opening the graphs, or one answer, may take."""


class RemoteBundle(Bundle):
    """As :class:`Bundle`; the graphs are opened, and run, by ``python`` in ``place``, where ``start`` starts it.

    ``place`` holds the same files as ``folder``. Close it when done.
    """

    def __init__(
        self,
        folder: Path,
        start: Callable[[Sequence[str]], Channel],
        python: str,
        place: str,
        threads: int | None = None,
    ) -> None:
        self._start, self._argv = start, [python, "-B", f"{place}/{RUNNER}", "--ids"]
        super().__init__(folder, threads)

    def open(self, threads: int) -> None:
        """Start the runner that came with the bundle."""
        self._channel = self._start([*self._argv, "--threads", str(threads)])
        self._read()

    def decode(self, source: Sequence[int], trace: list[Ranking] | None = None) -> Ids:
        """As the runner does; raises :class:`hwnas.errors.DeployError` with its last words if it ends."""
        try:
            self._channel.write_line(json.dumps(list(source)))
            answer = self._read()
        except (BundleError, TransportError) as exc:  # not as of an input that has no answer: there is none any more
            raise DeployError(f"{self.folder} does not answer any more: {exc}") from exc
        if trace is not None:
            trace += [[(tuple(ids), value) for ids, value in ranking] for ranking in answer["trace"]]
        return tuple(answer["ids"])

    def close(self) -> None:
        """End the process."""
        self._channel.close()

    def _read(self) -> dict[str, Any]:
        try:
            line = self._channel.read_line(_TIMEOUT_S)
        except TimeoutError as exc:
            self.close()
            raise BundleError(f"{self.folder}: {exc}") from None
        if line is None:
            self._failed()
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            raise BundleError(f"its runner printed {line[:60]!r}") from None
        return found

    def _failed(self) -> NoReturn:
        status, words = self._channel.close(), self._channel.stderr_tail().splitlines()
        said = words[-1].removeprefix("hwnas_run: ") if words else f"its runner ended with {status}"
        raise BundleError(said)
