"""What SSH costs: latencies measured through it beside local ones, and uploads beside scp's.

python -m benchmarks.ssh_transport [--rounds 20] [--mib 100] [--repeats 3] [--json]

Starts an OpenSSH server on loopback (as root, from Debian's openssh-server), so both ways end on this
machine. Latencies: operators of the space g2p on a local session and on one through SSH, side by side in
the same randomised rounds; the ratio should be 1, for timing is on the device. Uploads: fresh random
content by the transport and by ``scp`` on the same server, in turns; then the same content again through a
new connection; and the bytes that pass after a link was cut in the middle. Memory is the peak of a
process that does nothing but an upload, and of one that only imports what that needs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

from profiler import Journal, LocalDevice, measure, open_session, read_journal
from profiler.errors import ConnectionLostError
from profiler.ssh_sessions import SshSessions
from profiler.transports.ssh import SshTransport
from tests.ssh.link import Link
from tests.ssh.sshd import Sshd

MIB = 2**20
OPERATORS = 8

_MEMORY = """\
import sys
from pathlib import Path
from profiler.hardware import SshDevice
from profiler.transports.ssh import SshTransport
import paramiko
if sys.argv[2]:
    transport = SshTransport(SshDevice.model_validate_json(sys.argv[1]))
    transport.put(Path(sys.argv[2]))
    transport.close()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def latencies(server: Sshd, rounds: int, folder: Path) -> dict[str, Any]:
    """Medians of operators through SSH, over those of a local session in the same rounds."""
    from exporters.onnx import OnnxExporter
    from hwnas.families import get_family
    from hwnas.files import artifact_cache
    from hwnas.latency import operators_of
    from hwnas.profiling import build_plan, quietly
    from hwnas.sampling import Sampling
    from hwnas.spaces import load_space

    space = load_space("g2p")
    family = get_family(space.family)
    every = operators_of(space, family, space.workload)
    chosen = every[:: max(1, len(every) // OPERATORS)]
    sampling = Sampling(rounds=rounds, half_width=None, calibration=0, check=0)
    cache = artifact_cache()
    plan = build_plan(space, family, space.workload, sampling, OnnxExporter(), cache, quietly, operators=chosen)
    here = LocalDevice(name="local", kind="local")
    with SshSessions(server.device(name="ssh")) as sessions:
        openers = [partial(open_session, here), sessions.open]
        targets = []
        for opener in openers:
            with opener() as session:  # type: ignore[attr-defined]
                targets.append(session.target)
        path = folder / "journal.jsonl"
        with Journal.open(path, plan.header(targets, workload=space.workload.as_dict(), subject={})) as journal:
            measure(openers, plan, journal)
    content = read_journal(path)
    local, ssh = targets
    rows = []
    for item in plan.items:
        at = [content.measured(target, item.name) for target in (local, ssh)]
        rows.append(
            {
                "operator": item.name,
                "local_ms": at[0].latency_ms(local.clock),
                "ssh_ms": at[1].latency_ms(ssh.clock),
                "ratio": at[1].latency_ms(ssh.clock) / at[0].latency_ms(local.clock),
            }
        )
    ratios = [float(row["ratio"]) for row in rows]
    return {
        "operators": rows,
        "rounds": rounds,
        "clock": local.clock,
        "geometric_mean": geometric_mean(ratios),
        "median": median(ratios),
        "least": min(ratios),
        "most": max(ratios),
    }


def uploads(server: Sshd, mib: int, repeats: int, folder: Path) -> dict[str, Any]:
    """MiB/s of the transport and of scp in turns, seconds of a second upload, and what a cut costs."""
    put_s, again_s, scp_s = [], [], []
    for number in range(repeats):
        local = fresh(folder / f"file{number}", mib)
        transport = SshTransport(server.device())
        put_s.append(seconds(partial(transport.put, local)))
        transport.close()
        transport = SshTransport(server.device())
        again_s.append(seconds(partial(transport.put, local)))
        transport.close()
        known = f"UserKnownHostsFile={Path.home() / '.ssh' / 'known_hosts'}"
        command = ["scp", "-q", "-i", str(server.key), "-P", str(server.port), "-o", known, str(local)]
        copy = partial(subprocess.run, [*command, f"root@127.0.0.1:{server.home / 'copy'}"], check=True)
        scp_s.append(seconds(copy))
    import paramiko

    return {
        "mib": mib,
        "put_mib_per_s": mib / median(put_s),
        "scp_mib_per_s": mib / median(scp_s),
        "share_of_scp": median(scp_s) / median(put_s),
        "again_s": median(again_s),
        "cut": cut(server, mib, folder),
        "memory": memory(server, mib, folder),
        "paramiko": paramiko.__version__,
    }


def cut(server: Sshd, mib: int, folder: Path) -> dict[str, float]:
    """A link that breaks after half of a file: MiB that the board had, and that passed afterwards."""
    local, link = fresh(folder / "cut", mib), Link(server.port)
    with (Path.home() / ".ssh" / "known_hosts").open("a") as stream:
        stream.write(server.known_host.replace(f":{server.port} ", f":{link.port} "))
    device = server.device(port=link.port)
    transport = SshTransport(device)
    link.cut_after_bytes = link.passed_bytes + mib * MIB // 2
    with suppress(ConnectionLostError):
        transport.put(local)
    transport.close()
    server.await_quiet()
    (partial_file,) = server.board.glob("files/*/.partial")
    there, before = partial_file.stat().st_size, link.passed_bytes
    transport = SshTransport(device)
    transport.put(local)
    transport.close()
    sent = link.passed_bytes - before
    link.close()
    return {"had_mib": there / MIB, "sent_mib": sent / MIB, "lost_mib": (sent + there) / MIB - mib}


def memory(server: Sshd, mib: int, folder: Path) -> dict[str, float]:
    """Peak resident memory in MiB of a process that uploads, and of one that only imports."""
    local, described = fresh(folder / "memory", mib), server.device().model_dump_json()
    peaks = []
    for path in ("", str(local)):
        command = [sys.executable, "-c", _MEMORY, described, path]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout) / 1024)
    return {"imports_mib": peaks[0], "upload_mib": peaks[1]}


def fresh(path: Path, mib: int) -> Path:
    """A file of random content."""
    with path.open("wb") as stream:
        for _ in range(mib):
            stream.write(os.urandom(MIB))
    return path


def seconds(work: partial[Any]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def told(found: dict[str, Any]) -> str:
    """For people."""
    latency, upload = found["latency"], found["upload"]
    lines = [f"{'operator':<58}{'local ms':>10}{'ssh ms':>10}{'ratio':>8}"]
    lines += [
        f"{row['operator'][:57]:<58}{row['local_ms']:>10.4f}{row['ssh_ms']:>10.4f}{row['ratio']:>8.3f}"
        for row in latency["operators"]
    ]
    lines += [
        f"ssh/local: geometric mean {latency['geometric_mean']:.4f}, median {latency['median']:.4f},"
        f" {latency['least']:.3f} to {latency['most']:.3f} ({latency['rounds']} rounds, {latency['clock']})",
        f"upload of {upload['mib']} MiB: {upload['put_mib_per_s']:.0f} MiB/s, scp {upload['scp_mib_per_s']:.0f} MiB/s"
        f" ({upload['share_of_scp']:.2f} of scp's); the same content again: {upload['again_s']:.2f} s",
        f"cut in the middle: the board had {upload['cut']['had_mib']:.1f} MiB, {upload['cut']['sent_mib']:.1f} MiB"
        f" were sent afterwards ({upload['cut']['lost_mib']:.2f} MiB more than the file)",
        f"peak memory: {upload['memory']['upload_mib']:.0f} MiB, of which importing takes"
        f" {upload['memory']['imports_mib']:.0f} MiB",
    ]
    return "\n".join(lines)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--mib", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hwnas-") as name:
        folder = Path(name)
        os.environ.setdefault("XDG_CACHE_HOME", str(Path("~/.cache").expanduser()))
        os.environ["HOME"] = name  # no keys, agent or known hosts of the user's
        os.environ.pop("SSH_AUTH_SOCK", None)
        (folder / ".ssh").mkdir()
        server = Sshd(folder / "server").start()
        try:
            (folder / ".ssh" / "known_hosts").write_text(server.known_host)
            found = {
                "latency": latencies(server, arguments.rounds, folder),
                "upload": uploads(server, arguments.mib, arguments.repeats, folder),
            }
        finally:
            server.stop()
    print(json.dumps(found) if arguments.json else told(found))


if __name__ == "__main__":
    main()
