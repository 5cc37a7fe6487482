"""What every command shares: errors in one line, results on stdout, progress on stderr."""

from __future__ import annotations

import errno
import functools
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer

_P = ParamSpec("_P")
_R = TypeVar("_R")

_debug = False


def set_debug(debug: bool) -> None:
    """Show tracebacks of errors from now on."""
    global _debug  # noqa: PLW0603  one flag of one process, set once by the command line
    _debug = debug


def _known_errors() -> tuple[type[Exception], ...]:
    from exporters.errors import ExportError
    from hwnas.errors import HwnasError
    from latency_luts.errors import LutError
    from profiler.errors import ProfilerError

    return HwnasError, LutError, ProfilerError, ExportError


def _missing_module(exc: ModuleNotFoundError) -> str | None:
    extras = {
        "torch": "train",
        "onnx": "onnx",
        "onnxruntime": "onnx",
        "sentencepiece": "text",
        "sacrebleu": "text",
        "sklearn": "predict",
        "onnxscript": "all",
        "matplotlib": "report",
        "jinja2": "report",
        "markupsafe": "report",
        "pymoo": "cosearch",
        "paramiko": "ssh",
    }
    name = (exc.name or "").partition(".")[0]
    if name not in extras:
        return None
    return f"this needs {name}, which is not installed; run: pip install 'hwnas[{extras[name]}]'"


def guarded(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn an error a user can act on into one line on stderr and exit code 1; Ctrl-C into 130."""

    @functools.wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return command(*args, **kwargs)
        except (SystemExit, typer.Exit):  # before the errors below, whose packages need not be imported to leave
            raise
        except (KeyboardInterrupt, typer.Abort):
            _fail("interrupted; what is finished is kept, run the same command again to go on", 130)
        except BrokenPipeError:
            sys.stderr.close()
            raise SystemExit(1) from None
        except _known_errors() as exc:
            _fail(str(exc), 1)
        except ModuleNotFoundError as exc:
            message = _missing_module(exc)
            if message is None:
                raise
            _fail(message, 1)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                _fail(f"{_reason(exc)}; make room and run the same command again", 1)
            _fail(_reason(exc), 1)

    return run


def _reason(exc: OSError) -> str:
    if exc.errno == errno.EEXIST and exc.filename:  # only making a folder says so
        return f"{exc.filename} is a file where a folder is needed; choose another path"
    reason = (exc.strerror or str(exc) or type(exc).__name__).lower()
    return f"{reason}: {exc.filename}" if exc.filename else reason


def _fail(message: str, code: int) -> NoReturn:
    if _debug:
        traceback.print_exc()
    print(f"hwnas: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)


def emit(document: object, as_json: bool, text: Callable[[], str] | str) -> None:
    """Print ``document`` as JSON, or ``text``."""
    if as_json:
        shown = json.dumps(document, indent=2, ensure_ascii=False)
        if any("\ud800" <= letter <= "\udfff" for letter in shown):
            shown = json.dumps(document, indent=2)  # bytes that were no text: only escaped are they valid JSON
        print(shown)
    else:
        print(text if isinstance(text, str) else text())


def say(message: str) -> None:
    """A line of log, on stderr."""
    print(message, file=sys.stderr, flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns of plain text; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    right = [all(_is_number(row[i]) for row in rows) for i in range(len(header))]
    lines = []
    for cell_row in cells:
        parts = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cell_row, widths, right, strict=True))
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def _is_number(cell: object) -> bool:
    text = str(cell).split(" ")[0].replace(",", "").rstrip("%") or "x"
    try:
        float(text)
    except ValueError:
        return text in {"-", "–"}
    return True


def with_interval(value_ms: float, interval_ms: tuple[float, float] | None, unit: str = "") -> str:
    """``0.3095 [0.3050, 0.3141]``; the value alone where no interval is known."""
    return f"{value_ms:.4f}{unit}" + ("" if interval_ms is None else f" [{interval_ms[0]:.4f}, {interval_ms[1]:.4f}]")


class Bar:
    """One line of progress on stderr: description, share done, time left, and a note."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def update(self, done: float, total: float, note: str = "") -> None:
        """``done`` of ``total`` units are finished."""
        self._progress.update(self._task, completed=done, total=total, note=note)


@contextmanager
def progress_bar(description: str) -> Iterator[Bar]:
    """A :class:`Bar`; on something that is no terminal, a line about every tenth of the way."""
    console = _console()
    if not console.is_terminal:
        yield _PlainBar(description)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        TextColumn("left"),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(progress, progress.add_task(description, total=None, note=""))


@functools.cache
def _console() -> Any:
    """The one console of stderr: bars inside one another are drawn together only on the same one."""
    from rich.console import Console

    return Console(stderr=True)


def _span(seconds: float) -> str:
    """A time to wait, as people say it: ``45 s``, ``12 min``, ``1.5 h``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


class _PlainBar(Bar):
    def __init__(self, description: str) -> None:
        self._description, self._tenth = description, -1
        self._began, self._first = time.monotonic(), 0.0

    def update(self, done: float, total: float, note: str = "") -> None:
        tenth = int(10 * done / total) if total else 0
        if self._tenth < 0 or tenth < self._tenth:  # the first call, or the first of another phase
            self._began, self._first = time.monotonic(), done
        if tenth != self._tenth:
            self._tenth = tenth
            left = ""
            if self._first < done < total:
                pace = (time.monotonic() - self._began) / (done - self._first)
                left = f", {_span(pace * (total - done))} left"
            say(f"{self._description}: {10 * tenth} %{left}{f' ({note})' if note else ''}")
