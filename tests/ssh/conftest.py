"""A server for all tests of SSH, and a clean home for whoever connects to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ssh.link import Link
from ssh.sshd import Sshd, require_sshd


@pytest.fixture(scope="session")
def shared_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    require_sshd()
    server = Sshd(tmp_path_factory.mktemp("sshd") / "s").start()
    yield server
    server.stop()


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the user on this side: no keys, no agent, no known hosts."""
    home = tmp_path / "user"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture
def sshd(shared_sshd: Sshd, user: Path) -> Iterator[Sshd]:
    """The shared server, known to the user; nothing that a test started there outlives it."""
    (user / ".ssh" / "known_hosts").write_text(shared_sshd.known_host)
    yield shared_sshd
    shared_sshd.await_quiet()


@pytest.fixture
def own_sshd(tmp_path: Path, user: Path) -> Iterator[Callable[..., Sshd]]:
    """Starts a server of a test's own, known to the user."""
    made: list[Sshd] = []

    def start(**options: Any) -> Sshd:
        require_sshd()
        made.append(Sshd(tmp_path / f"sshd{len(made)}", **options).start())
        with (user / ".ssh" / "known_hosts").open("a") as stream:
            stream.write(made[-1].known_host)
        return made[-1]

    yield start
    for server in made:
        server.stop()
        server.await_quiet()


@pytest.fixture
def link(sshd: Sshd, user: Path) -> Iterator[Link]:
    """A network between the user and the shared server; the server is known behind it."""
    link = Link(sshd.port)
    with (user / ".ssh" / "known_hosts").open("a") as stream:
        stream.write(sshd.known_host.replace(f":{sshd.port} ", f":{link.port} "))
    yield link
    link.close()
