"""Makes and removes a toolchain's environment: locked against others, and whole or not there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from profiler.errors import ToolchainError
from profiler.toolchain.catalogue import Toolchain
from profiler.toolchain.place import PARTIAL, environment, others, python, root_folder
from profiler.toolchain.process import ToolProcess


def install(
    toolchain: Toolchain, root: Path | None = None, *, say: Callable[[str], None] = lambda _: None
) -> dict[str, object]:
    """Make the environment unless it is there, and return what its check says (versions).

    A second process waits for the first. Interrupted or failed at any point, it leaves nothing
    that counts as installed; what a killed one left is cleared by the next. Environments of other
    pins are removed at the end. Raises :class:`ToolchainError` with pip's own words.
    """
    root = root or root_folder()
    final = environment(toolchain, root)
    with _locked(toolchain, root, say):
        if not final.is_dir():
            partial = root / f"{final.name}{PARTIAL}"
            shutil.rmtree(partial, ignore_errors=True)
            try:
                _build(toolchain, partial, say)
                _check(toolchain, partial)
                partial.rename(final)
            except (OSError, ValueError) as exc:  # venv refuses some folders by a ValueError
                reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
                raise ToolchainError(f"cannot make {final}: {reason}") from exc
            except subprocess.CalledProcessError as exc:  # of ensurepip
                raise ToolchainError(f"cannot make {final}: {exc}") from exc
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        found = _check(toolchain, final)
        for other in others(toolchain, root):
            shutil.rmtree(other, ignore_errors=True)
    return found


def remove(toolchain: Toolchain, root: Path | None = None) -> bool:
    """Delete its environments, also those of other pins; ``False`` if there was none.

    Each is renamed first, so that one that is half deleted does not count as installed.
    """
    root = root or root_folder()
    with _locked(toolchain, root, lambda _: None):
        found = [path for path in (environment(toolchain, root), *others(toolchain, root)) if path.is_dir()]
        for path in found:
            going = path if path.name.endswith(PARTIAL) else path.rename(f"{path}{PARTIAL}")
            shutil.rmtree(going)
    return bool(found)


def _build(toolchain: Toolchain, folder: Path, say: Callable[[str], None]) -> None:
    pins = [f"{package}=={version}" for package, version in toolchain.versions.items()]
    say(f"{toolchain.name}: making an environment")
    venv.create(folder, with_pip=bool(pins), symlinks=True)
    if not pins:
        return
    say(f"{toolchain.name}: installing {', '.join(pins)}")
    pip = [str(python(folder)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    _run([*pip, "--no-deps", *pins], f"toolchain {toolchain.name} cannot be installed")


def _check(toolchain: Toolchain, folder: Path) -> dict[str, object]:
    with ToolProcess(python(folder), toolchain) as process:
        found = process.call("check")
    if not isinstance(found, dict):
        raise ToolchainError(f"toolchain {toolchain.name}: its check answered {json.dumps(found)}, not versions")
    return found


def _run(argv: Sequence[str], failure: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise ToolchainError(f"{failure}: {words[-1] if words else f'pip ended with {done.returncode}'}")


@contextmanager
def _locked(toolchain: Toolchain, root: Path, say: Callable[[str], None]) -> Iterator[None]:
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / f"{toolchain.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        raise ToolchainError(f"cannot use {root}: {exc.strerror}; set XDG_CACHE_HOME to another folder") from exc
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{toolchain.name}: another process is at it; waiting")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
