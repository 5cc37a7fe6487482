"""A server for all tests of SSH, and a clean home for whoever connects to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
def sshd(shared_sshd: Sshd, user: Path) -> Sshd:
    """The shared server, known to the user."""
    (user / ".ssh" / "known_hosts").write_text(shared_sshd.known_host)
    return shared_sshd
