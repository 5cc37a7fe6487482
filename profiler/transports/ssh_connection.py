"""An SSH connection to a board, by ``devices.yaml`` and ``~/.ssh/config``, with strict host keys."""

from __future__ import annotations

import base64
import getpass
import hashlib
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.errors import ConnectionLostError, TransportError
from profiler.hardware import SshDevice

if TYPE_CHECKING:
    import paramiko

CONNECT_TIMEOUT_S = 15.0
_END_S = 5.0
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""Encrypt and authenticate in one pass, so files come over faster than with what paramiko prefers."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a host is and how one logs in there, after ``~/.ssh/config``.

    ``device`` is its name in ``devices.yaml``; None for a host on the way.
    """

    host: str
    port: int
    user: str
    keys: tuple[str, ...]
    jump: tuple[str, ...]
    proxy_command: str | None
    known_hosts: tuple[Path, ...]
    device: str | None = None

    @property
    def login(self) -> str:
        """The command by which a user logs in there."""
        return f"ssh {'' if self.port == 22 else f'-p {self.port} '}{self.user}@{self.host}"

    @property
    def trusting(self) -> str:
        """What makes the host known."""
        return f"log in there once: {self.login}" if self.device is None else f"run: hwnas devices trust {self.device}"

    @property
    def known_as(self) -> str:
        """The host as files of known hosts name it."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + ("" if self.port == 22 else f":{self.port}")


@dataclass(frozen=True, slots=True)
class HostKey:
    """The key a host shows: ``name`` as in files of known hosts, ``line`` what stands there."""

    name: str
    kind: str
    fingerprint: str
    line: str


def own_known_hosts() -> Path:
    """The host keys that ``hwnas devices trust`` has added; they count before the user's."""
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "hwnas" / "known_hosts"


def address_of(device: SshDevice) -> Address:
    """Where the board is; what ``devices.yaml`` says counts before ``~/.ssh/config``."""
    jump = None if device.jump is None else _hops(device.jump)
    return replace(_address(device.host, device.user, device.port, device.key, jump), device=device.name)


@dataclass(slots=True)
class Connection:
    """A login, and those it goes through."""

    client: paramiko.SSHClient
    hops: list[Connection] = field(default_factory=list)
    proxy: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """Close it, the hosts before it last."""
        transport = self.client.get_transport()
        self.client.close()
        if transport is not None:
            transport.join(_END_S)  # paramiko's thread for it
        for before in reversed(self.hops):
            before.close()
        if self.proxy is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.proxy.pid, signal.SIGKILL)  # not waited for yet, so its id is still its own
            self.proxy.wait()
            self.proxy = None


def connect(device: SshDevice) -> Connection:
    """Log in at a board, through the hosts before it.

    Raises :class:`TransportError` saying what to do, of the kind :class:`ConnectionLostError` where
    trying again may help.
    """
    import paramiko

    if device.key is not None and not Path(device.key).expanduser().is_file():
        raise TransportError(
            f"{device.name}: there is no key {device.key}; correct key: in devices.yaml, or run ssh-keygen"
        )
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # it logs tracebacks of what it raises, too
    connection = Connection(paramiko.SSHClient())
    try:
        _log_in(connection, device.name, address_of(device))
    except BaseException:
        connection.close()
        raise
    return connection


def host_key_of(device: SshDevice) -> HostKey:
    """The key that the board shows now; nothing is trusted by that. Raises :class:`TransportError`."""
    import paramiko

    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    address, connection = address_of(device), Connection(paramiko.SSHClient())
    try:
        sock = _way(connection, device.name, address) or _dial(device.name, address)
        transport = paramiko.Transport(sock)
        transport.banner_timeout = CONNECT_TIMEOUT_S
        try:
            transport.start_client(timeout=CONNECT_TIMEOUT_S)
            key = transport.get_remote_server_key()
        except (paramiko.SSHException, EOFError, OSError) as exc:
            raise _explained(exc, device.name, address) from exc
        finally:
            transport.close()
    finally:
        connection.close()
    line = f"{address.known_as} {key.get_name()} {key.get_base64()}"
    return HostKey(address.known_as, key.get_name(), fingerprint(key), line)


def trust(key: HostKey, path: Path | None = None) -> None:
    """Write a host's key into a file of known hosts (hwnas's own), in place of what stood there of that host."""
    path = path or own_known_hosts()
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.partition(" ")[0] != key.name]
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text("\n".join([*kept, key.line]) + "\n", encoding="utf-8")
    partial.replace(path)


def fingerprint(key: paramiko.PKey) -> str:
    """As ``ssh-keygen -l`` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def _hops(text: str) -> tuple[str, ...]:
    return () if text.lower() == "none" else tuple(hop.strip() for hop in text.split(",") if hop.strip())


def _address(host: str, user: str | None, port: int | None, key: str | None, jump: tuple[str, ...] | None) -> Address:
    import paramiko

    path = Path("~/.ssh/config").expanduser()
    try:
        found: dict[str, Any] = dict(paramiko.SSHConfig.from_path(str(path)).lookup(host)) if path.is_file() else {}
    except (paramiko.ConfigParseError, OSError, UnicodeDecodeError) as exc:
        raise TransportError(f"cannot read {path}: {exc}") from exc
    known = found.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2").split()
    return Address(
        host=found.get("hostname", host),
        port=port or int(found.get("port", 22)),
        user=user or found.get("user") or getpass.getuser(),
        keys=tuple(str(Path(each).expanduser()) for each in ([key] if key else found.get("identityfile", []))),
        jump=_hops(found.get("proxyjump", "")) if jump is None else jump,
        proxy_command=None if jump is not None else found.get("proxycommand"),
        known_hosts=tuple(Path(each).expanduser() for each in (*known, "/etc/ssh/ssh_known_hosts")),
    )


def _hop(text: str) -> Address:
    """The address of ``[user@]host[:port]``."""
    user, _, place = text.rpartition("@")
    host, _, port = place.rpartition(":") if place.count(":") == 1 else (place, "", "")
    if port and not port.isdigit():
        raise TransportError(f"jump: {text!r} is not a host; write user@host:port")
    return _address(host, user or None, int(port) if port else None, None, ())


def _way(connection: Connection, name: str, address: Address) -> Any:
    """A socket to the host through the hosts before it; None if it is reached directly."""
    import paramiko

    if address.proxy_command and not address.jump:
        near, far = socket.socketpair()
        with far:
            command = ["/bin/sh", "-c", f"exec {address.proxy_command}"]
            connection.proxy = subprocess.Popen(
                command, stdin=far.fileno(), stdout=far.fileno(), start_new_session=True
            )
        return near
    sock: Any = None
    for this, following in pairwise([*map(_hop, address.jump), address]):
        hop = Connection(paramiko.SSHClient())
        connection.hops.append(hop)
        _log_in(hop, f"{name} through {this.host}", this, sock)
        transport = hop.client.get_transport()
        place = following.host, following.port
        try:
            assert transport is not None
            sock = transport.open_channel("direct-tcpip", place, ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT_S)
        except (paramiko.SSHException, EOFError, OSError) as exc:
            raise ConnectionLostError(f"{name}: {this} does not reach {place[0]}:{place[1]}: {exc}") from exc
    return sock


def _dial(name: str, address: Address) -> socket.socket:
    try:
        return socket.create_connection((address.host, address.port), CONNECT_TIMEOUT_S)
    except OSError as exc:
        raise _explained(exc, name, address) from exc


class _Refuse:
    """What paramiko asks about a host that is not known: an error that says what to do."""

    def __init__(self, name: str, address: Address) -> None:
        self._name, self._address = name, address

    def missing_host_key(self, _: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Always refuse."""
        raise TransportError(
            f"{self._name}: the host {hostname} is not known; it shows the key {fingerprint(key)}"
            f" ({key.get_name()}): compare it with the board's, then {self._address.trusting}"
        )


def _log_in(connection: Connection, name: str, address: Address, sock: Any = None) -> None:
    import paramiko

    client = connection.client
    client.set_missing_host_key_policy(_Refuse(name, address))
    for file in _files_that_know(address):
        client.load_system_host_keys(str(file))
    sock = sock if sock is not None else _way(connection, name, address)

    def transport(*given: Any, **options: Any) -> paramiko.Transport:
        made = paramiko.Transport(*given, **options)
        known = made.get_security_options()
        known.ciphers = tuple(sorted(known.ciphers, key=lambda cipher: cipher not in CIPHERS))
        return made

    try:
        client.connect(
            address.host,
            address.port,
            address.user,
            key_filename=[key for key in address.keys if Path(key).is_file()] or None,
            look_for_keys=not address.keys,
            timeout=CONNECT_TIMEOUT_S,
            banner_timeout=CONNECT_TIMEOUT_S,
            auth_timeout=2 * CONNECT_TIMEOUT_S,
            channel_timeout=CONNECT_TIMEOUT_S,
            sock=sock,
            transport_factory=transport,
        )
    except (paramiko.SSHException, EOFError, OSError, ValueError) as exc:
        raise _explained(exc, name, address) from exc


def _files_that_know(address: Address) -> Iterator[Path]:
    """hwnas's own file alone if it names the host, so that a key trusted anew counts; else the user's."""
    import paramiko

    own = own_known_hosts()
    if own.is_file() and paramiko.HostKeys(str(own)).lookup(address.known_as) is not None:
        yield own
        return
    yield from (path for path in address.known_hosts if path.is_file())


def _explained(exc: Exception, name: str, address: Address) -> TransportError:
    """What went wrong in one line, and what to do."""
    refusal = _refusal(exc, address)
    if refusal is not None:
        return TransportError(f"{name}: {refusal}")
    return ConnectionLostError(f"{name}: {_lapse(exc, address)}")


def _refusal(exc: Exception, address: Address) -> str | None:
    """What trying again would not help; None for the rest."""
    import paramiko

    keys = ", ".join(address.keys)
    if isinstance(exc, paramiko.BadHostKeyException):
        return (
            f"the host key of {address.known_as} has changed: it was {fingerprint(exc.expected_key)}, now"
            f" {exc.key.get_name()} {fingerprint(exc.key)}; if you set it up anew, {address.trusting}; else somebody"
            " may stand in between"
        )
    if isinstance(exc, paramiko.PasswordRequiredException):
        return f"{keys or 'the key'} is protected by a passphrase; give it to the agent: ssh-add {keys}".rstrip()
    if "private key" in str(exc) or isinstance(exc, ValueError):
        return f"{keys or 'a key of ~/.ssh'} cannot be used as a private key: {exc}"
    return None


def _lapse(exc: Exception, address: Address) -> str:
    """How a board was not reached; one that starts lets nobody in at first, nor answers to its name (mDNS)."""
    import paramiko

    keys = ", ".join(address.keys)
    if isinstance(exc, paramiko.AuthenticationException) or "No authentication methods" in str(exc):
        where = "User and IdentityFile in ~/.ssh/config" if address.device is None else "user: and key: in devices.yaml"
        return (
            f"{address} does not let us in by {keys or 'the keys of the agent and of ~/.ssh'}: wrong user or key;"
            f" see whether `{address.login}` works, and correct {where}"
        )
    if isinstance(exc, socket.gaierror):
        where = "HostName in ~/.ssh/config" if address.device is None else "host: in devices.yaml"
        return f"no host is called {address.host!r}; correct {where}"
    host = f"{address.host}:{address.port}"
    if isinstance(exc, paramiko.ssh_exception.NoValidConnectionsError):
        return f"{host} cannot be reached: {(next(iter(exc.errors.values())).strerror or 'refused').lower()}"
    if isinstance(exc, TimeoutError) or "banner" in str(exc) or "No existing session" in str(exc):
        return f"{host} does not answer; is the board on?"
    reason = getattr(exc, "strerror", None) or str(exc) or "the connection was closed"
    return f"{host} cannot be reached: {reason.lower()}"
