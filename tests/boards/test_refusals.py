"""``hwnas devices setup`` on boards that are unfit, behind a real ssh server: one line each, and nothing left there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from cli.shell import Shell
from ssh.sshd import Sshd, require_sshd

Unfit = Callable[..., tuple[Shell, Sshd]]

FAKE = '#!/bin/sh\n[ "$*" = "{arguments}" ] && echo "{answer}" && exit {status}\nexec {real} "$@"\n'


@pytest.fixture
def unfit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Unfit]:
    """Starts a board on which some commands answer otherwise: name -> arguments, answer, exit status."""
    require_sshd()
    started: list[Sshd] = []

    def start(**fakes: tuple[str, str, int]) -> tuple[Shell, Sshd]:
        commands = tmp_path / "commands"
        commands.mkdir()
        for path in (*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()):
            if not path.name.startswith("python") and not (commands / path.name).is_symlink():
                (commands / path.name).symlink_to(path)
        for name, (arguments, answer, status) in {"python3": ("", "", 0), **fakes}.items():
            real = shutil.which(name)
            (commands / name).unlink(missing_ok=True)
            (commands / name).write_text(FAKE.format(arguments=arguments, answer=answer, status=status, real=real))
            (commands / name).chmod(0o755)
        server = Sshd(tmp_path / "board", environment={"PATH": str(commands)}).start()
        started.append(server)
        entry = server.device().model_dump(exclude_none=True, exclude={"name", "python"}, mode="json")
        (tmp_path / "devices.yaml").write_text(yaml.safe_dump({"devices": {"pi": entry}}))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        (tmp_path / "config" / "hwnas").mkdir(parents=True)
        (tmp_path / "config" / "hwnas" / "known_hosts").write_text(server.known_host)
        return Shell(tmp_path, tmp_path / "cache"), server

    yield start
    for server in started:
        server.stop()


@pytest.mark.parametrize(
    ("fakes", "message"),
    [
        (
            {"uname": ("-m", "aarch64", 0), "getconf": ("LONG_BIT", "32", 0)},
            "pi: a 32-bit system runs on its 64-bit kernel (aarch64), and the runtimes are 64-bit only; put a 64-bit",
        ),
        ({"uname": ("-m", "armv7l", 0)}, "pi: its processor is run as armv7l, and the runtimes exist for aarch64 and"),
        (
            {"python3": ("--version", "Python 3.9.2", 0)},
            "pi: its Python is 3.9.2, and 3.11 or newer is needed; put a newer system on it",
        ),
        (
            {"getconf": ("GNU_LIBC_VERSION", "glibc 2.27", 0)},
            "pi: its glibc is 2.27, and onnxruntime needs 2.28; put a newer system on it",
        ),
        ({"getconf": ("GNU_LIBC_VERSION", "", 1)}, "pi: its C library is not glibc, which the runtimes need"),
    ],
)
def test_an_unfit_board_is_refused(unfit: Unfit, fakes: dict[str, tuple[str, str, int]], message: str) -> None:
    shell, server = unfit(**fakes)
    assert message in shell("devices", "setup", "pi").refusal
    assert not (server.board / "venv").exists()
    server.await_quiet()


def test_a_board_without_python_is_refused(unfit: Unfit) -> None:
    shell, server = unfit()
    (server.folder.parent / "commands" / "python3").unlink()
    assert "python" in shell("devices", "setup", "pi").refusal.lower()
