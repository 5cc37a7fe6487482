"""Commands as a user types them: in this process where that is the same, else in one of their own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

SPACE = """\
name: tiny
family: seq2seq
workload: {batch: 1, beam: 1, source_tokens: 6, target_tokens: 5, vocabulary: 13}
choices:
  encoder_embed: [8, 16]
  encoder_layers: [1, 2]
  encoder_ffn: [8, 16, 32]
  encoder_heads: [2]
  decoder_embed: [8, 16]
  decoder_layers: [1, 2]
  decoder_ffn: [8, 16, 32]
  decoder_self_heads: [2]
  decoder_cross_heads: [2]
  decoder_attended: [1]
fixed: {qkv: 16, positions: 64}
"""
TRAIN = ("train", "--space", "tiny.yaml", "--updates", "30", "--batch", "16", "--warmup", "5")
PROFILE = ("profile", "--space", "tiny.yaml", "--samples", "2", "--calibration", "4", "--check", "2")
EVOLUTION = ("--population", "8", "--parents", "3", "--mutants", "4", "--crossovers", "4", "--iterations", "3")
SEARCH = ("search", "--space", "tiny.yaml", "--table", "x86.lut.jsonl", "--supernet", "supernet.pt", *EVOLUTION)

DEVICES = "devices:\n  x86:\n    kind: local\n"

DEADLINE_S = 300
"""After that a process hangs; on a busy machine the longest takes a minute."""


@dataclass(frozen=True)
class Ran:
    """What a command left on its two streams, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def refusal(self):
        """The one line a refused command says; anything else on stderr is progress."""
        assert self.code == 1, (self.code, self.out, self.err)
        assert "Traceback" not in self.err, self.err
        said = [line for line in self.err.splitlines() if line.startswith("hwnas: ")]
        assert len(said) == 1, self.err
        assert self.err.splitlines()[-1] == said[0], self.err
        return said[0]

    @property
    def only_line(self):
        """The refusal of a command that refused at once: nothing else is on either stream."""
        assert self.out == ""
        assert self.err == self.refusal + "\n"
        return self.refusal


@dataclass(frozen=True)
class Shell:
    """A working folder and its cache; nothing outside it is read or written."""

    folder: Path
    cache: Path

    @property
    def environment(self):
        return {"XDG_CACHE_HOME": str(self.cache), "OMP_NUM_THREADS": "1"}

    def __call__(self, *args, stdin=None):
        """Run ``hwnas ARGS`` in this process."""
        from hwnas.cli.commands import app

        with contextlib.chdir(self.folder):
            result = CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, env=self.environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    def start(self, *args, python=(), **environment):
        """Start ``python -m hwnas ARGS`` as a process of its own."""
        return subprocess.Popen(
            [sys.executable, *python, "-m", "hwnas", *map(str, args)],
            cwd=self.folder,
            env={**os.environ, **self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def process(self, *args, **options):
        """Run ``python -m hwnas ARGS`` to its end."""
        return ended(self.start(*args, **options))

    def stop(self, *args, when, how=signal.SIGKILL):
        """Start ``hwnas ARGS``, send ``how`` as soon as ``when()`` is true, and see all its workers end."""
        process = self.start(*args)
        wait_until(lambda: when() or process.poll() is not None)
        assert process.poll() is None, f"it ended before it could be stopped: {process.communicate()}"
        workers = children(process.pid)
        process.send_signal(how)
        ran = ended(process)
        wait_until(lambda: not any(alive(worker) for worker in workers))
        assert process.returncode == (-how if how == signal.SIGKILL else 130), ran
        return ran


def ended(process):
    try:
        out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    return Ran(process.returncode, out, err)


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def children(pid):
    """Ids of the processes that ``pid`` has started."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for tasks in found for child in tasks.read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def records(path):
    """The whole lines of a journal; none if it is not there yet."""
    if not path.is_file():
        return []
    content = path.read_bytes()
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def leftovers(folder):
    """Unfinished files and folders in ``folder``."""
    return [path for path in folder.rglob("*") if ".partial" in path.name or path.name.endswith(".previous")]


def contents(folder):
    """Every file below ``folder``."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
