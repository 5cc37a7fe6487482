"""What runs on a board for the SSH transport: files in and out, the machine's lock, and guarded commands.

This file is sent as it is, after ``board_guard.py``, over the channel that starts it, to whatever
``python3`` the board has: the standard library alone, no syntax newer than Python 3.7. Both are run in one
namespace, so nothing is imported from the other at run time, and nothing is left on the board but what
``put`` stored.

Both directions are lines, but for the bytes of files. The first line out is the token given as the
only argument (what login scripts printed before it is noise), the second what the board is. Requests
are JSON objects with ``op``; a reply is one JSON object, with ``error`` (and ``errno``) if it failed:

hello    folder, python, owner, alone, lease_s
                             -> folder, python; with alone ends what earlier connections of the owner left behind
put      name, sha256, size  -> path if it is there, else offset; what follows it is sent then  -> path
get      path                -> size, then the bytes
scratch                      -> path of a folder that goes when this process does
lock     holder              -> holder: null if the machine's lock is held from now on, else who holds it
start    argv, collect       -> pid; from now on this process is the command's guard

It ends, with all it started, when its input does or nothing was heard for ``lease_s``.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from profiler.transports.board_guard import PIECE, Gone, Guard, Reply, Wire, end_group

OWNER = "HWNAS_OWNER"
SIGNALS = (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP)


class Agent:
    """Serves one channel of a driver."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.folder = ""
        self.scratches: list[str] = []
        self.locked: int | None = None

    def serve(self) -> None:
        """Answer until the driver is gone."""
        while True:
            request = json.loads(self.wire.line().decode())
            try:
                {
                    "hello": self.hello,
                    "put": self.put,
                    "get": self.get,
                    "scratch": self.scratch,
                    "lock": self.lock,
                    "start": self.start,
                }[request["op"]](request)
            except OSError as exc:
                self.wire.reply(error=exc.strerror or str(exc), errno=exc.errno, path=exc.filename)

    def hello(self, request: Reply) -> None:
        """Who asks; what is left of its earlier connections ends now."""
        self.wire.lease_s = request["lease_s"]
        self.folder = os.path.expanduser(request["folder"])
        os.environ[OWNER] = request["owner"]
        venv = os.path.join(self.folder, "venv", "bin", "python")
        python = request["python"] or (venv if os.access(venv, os.X_OK) else "python3")
        self.wire.reply(
            folder=self.folder,
            python=os.path.expanduser(python),
            ended=end_others(request["owner"]) if request["alone"] else [],
        )

    def put(self, request: Reply) -> None:
        """Store a file under the hash of its content, unless another connection does: that is waited for."""
        folder = os.path.join(self.folder, "files", request["sha256"])
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while not is_locked(descriptor):
                self.wire.say(b"!")
                time.sleep(0.1)
            self.store(folder, request)
        finally:
            os.close(descriptor)

    def store(self, folder: str, request: Reply) -> None:
        """Store a file in a folder of its own; what a lost connection left of it is gone on with."""
        path, partial = os.path.join(folder, request["name"]), os.path.join(folder, ".partial")
        if not os.path.exists(path):
            link_other_name(folder, path)
        if os.path.exists(path):
            if digest(path)[0].hexdigest() == request["sha256"]:
                return self.wire.reply(path=path)
            os.unlink(path)  # damaged since: it comes anew
        known, offset = digest(partial)
        if offset > request["size"]:
            known, offset = hashlib.sha256(), 0
        if shutil.disk_usage(folder).free < request["size"] - offset:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), partial)
        failed: OSError | None = None
        with open(partial, "r+b" if offset else "wb", buffering=0) as stream:
            stream.seek(offset)
            self.wire.reply(offset=offset)
            left = request["size"] - offset
            while left:
                piece = self.wire.some(min(left, PIECE))
                left -= len(piece)
                known.update(piece)
                rest = memoryview(piece)
                while rest and failed is None:
                    try:
                        rest = rest[stream.write(rest) :]
                    except OSError as exc:
                        failed = exc  # what is on its way must be read all the same
        if failed is None and known.hexdigest() == request["sha256"]:
            os.rename(partial, path)
            return self.wire.reply(path=path)
        os.unlink(partial)
        if failed is not None:
            raise failed
        return self.wire.reply(error="what came has another hash than was announced; run the same command again")

    def get(self, request: Reply) -> None:
        """Send a file."""
        with open(request["path"], "rb") as stream:
            left = os.fstat(stream.fileno()).st_size
            self.wire.reply(size=left)
            while left:
                piece = stream.read(min(left, PIECE))
                if not piece:
                    raise Gone  # it was cut short meanwhile, and the driver waits for the rest
                self.wire.give(piece)
                self.wire.renew()  # it took that
                left -= len(piece)

    def scratch(self, _: Reply) -> None:
        """A folder for this connection alone."""
        os.makedirs(self.folder, exist_ok=True)
        self.scratches.append(tempfile.mkdtemp(prefix="scratch-", dir=self.folder))
        self.wire.reply(path=self.scratches[-1])

    def lock(self, request: Reply) -> None:
        """The lock by which a machine knows that somebody measures on it, wherever they come from."""
        path = os.path.join(os.environ.get("HWNAS_LOCKS") or "/tmp", "hwnas-localhost.lock")
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(path, os.O_RDWR | flags)
        except FileNotFoundError:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
            os.fchmod(descriptor, 0o666)
        except PermissionError:  # another user's
            descriptor = os.open(path, os.O_RDONLY | flags)
        if not is_locked(descriptor):
            known = os.pread(descriptor, 4096, 0).decode(errors="replace")
            os.close(descriptor)
            return self.wire.reply(holder=known, now_s=time.time())
        self.locked = descriptor
        holder = dict(request["holder"], pid=os.getpid(), since_s=round(time.time(), 3))
        self.sign(json.dumps(holder).encode())
        return self.wire.reply(holder=None)

    def sign(self, text: bytes) -> None:
        """Write who holds the lock; in another user's file that cannot be, and the lock counts all the same."""
        if self.locked is not None:
            try:
                os.ftruncate(self.locked, 0)
                os.pwrite(self.locked, text, 0)
            except OSError:
                return

    def start(self, request: Reply) -> NoReturn:
        """Be the guard of a command from now on."""
        child = subprocess.Popen(
            request["argv"],
            stdin=subprocess.DEVNULL if request["collect"] else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        try:
            self.wire.reply(pid=child.pid)
            Guard(self.wire, child, collect=request["collect"]).watch()
        finally:
            end_group(child)
        raise Gone

    def close(self) -> None:
        """Leave nothing of this connection behind."""
        self.sign(b"")
        for folder in self.scratches:
            shutil.rmtree(folder, ignore_errors=True)


def end_others(owner: str) -> list[int]:
    """Kill what earlier connections of ``owner`` started, and wait a little for their end; their ids."""
    ended = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if name.isdigit() and int(name) != os.getpid() and of_owner(name, owner.encode()):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(name), signal.SIGKILL)
                ended.append(int(name))
    deadline = time.monotonic() + 5.0
    while any(map(is_alive, ended)) and time.monotonic() < deadline:
        time.sleep(0.005)
    return ended


def of_owner(pid: str, mark: bytes) -> bool:
    """Whether a process bears the mark."""
    for file in ("cmdline", "environ"):
        with suppress(OSError), open(f"/proc/{pid}/{file}", "rb") as stream:
            if mark in stream.read():
                return True
    return False


def is_alive(pid: int) -> bool:
    """Whether a process still holds what it holds: locks and files go before it is a zombie."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as stream:
        return stream.read().rpartition(b")")[2].split()[0] != b"Z"
    return False


def link_other_name(folder: str, path: str) -> None:
    """The same content may be there by another name."""
    for name in os.listdir(folder):
        if name != ".partial":
            with suppress(OSError):  # not every file system can: then it comes again
                os.link(os.path.join(folder, name), path)
            return


def is_locked(descriptor: int) -> bool:
    """Lock a file or folder; False if another holds the lock. Where nothing can be locked, nothing holds one up."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        return exc.errno not in (errno.EWOULDBLOCK, errno.EAGAIN)
    return True


def digest(path: str) -> tuple[Any, int]:
    """The SHA-256 and size of a file; of nothing if it is not there."""
    known, size = hashlib.sha256(), 0
    if os.path.exists(path):
        with open(path, "rb", buffering=0) as stream:
            for piece in iter(lambda: stream.read(PIECE), b""):
                known.update(piece)
                size += len(piece)
    return known, size


def board() -> Reply:
    """What the board is."""
    boot = "/proc/sys/kernel/random/boot_id"
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "boot": open(boot).read().strip() if os.path.exists(boot) else None,
        "pid": os.getpid(),
    }


def gone(*_: Any) -> NoReturn:
    """A signal: the lease is over, or somebody ends this process; no other one interrupts the end."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Gone


def main() -> None:
    """Say the token and what the board is, then serve."""
    for each in SIGNALS:
        signal.signal(each, gone)
    wire = Wire()
    wire.renew()
    agent = Agent(wire)
    try:
        wire.give(b"\n" + sys.argv[1].encode() + b"\n")
        wire.reply(**board())
        agent.serve()
    except Gone:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        agent.close()


main()
