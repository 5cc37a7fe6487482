"""What a machine is and does right now, read from the system."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from .board import board_model, system, throttled_bits
from .protocol import Request


def facts(threads: int, runtime: str) -> Request:
    """What the machine is and does right now; null for what it does not tell."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "time_s": round(time.time(), 3),
        "cpu_model": cpu_model(),
        "board": board_model(),
        "machine": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "host": hashlib.sha256(platform.node().encode()).hexdigest()[:12],
        "hypervisor": hypervisor(),
        "cores": os.cpu_count(),
        "affinity": affinity,
        "threads": threads,
        **frequency(affinity or [0]),
        "smt": number(read("/sys/devices/system/cpu/smt/active")),
        "throttled_bits": throttled_bits(),
        "mains": max(
            (number(read(path)) or 0 for path in Path("/sys/class/power_supply").glob("A*/online")), default=None
        ),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "cache_bytes": cache_bytes(),
        **jiffies(),
        **{f"pressure_{what}": read(f"/proc/pressure/{what}") for what in ("cpu", "memory", "io")},
        **cgroup(),
        **memory(),
        "disk_free_bytes": shutil.disk_usage(tempfile.gettempdir()).free,
        "temperature_millidegrees": {
            zone.parent.name: number(read(zone)) for zone in sorted((system() / "class/thermal").glob("*/temp"))
        },
        "clock_source": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "clock_resolution_ns": {
            "wall": time.get_clock_info("perf_counter").resolution * 1e9,
            "cpu": time.get_clock_info("thread_time" if threads == 1 else "process_time").resolution * 1e9,
        },
        "python": platform.python_version(),
        "numpy": np.__version__,
        "libc": "-".join(platform.libc_ver()),
        "runtime": runtime,
    }


def frequency(cores: list[int]) -> Request:
    """How the clock of the cores in use is governed; of the first of them in kHz."""
    policies = [system() / f"devices/system/cpu/cpu{core}/cpufreq" for core in cores]
    governors = {name for policy in policies if (name := read(policy / "scaling_governor"))}
    no_turbo = number(read("/sys/devices/system/cpu/intel_pstate/no_turbo"))
    boost = number(read("/sys/devices/system/cpu/cpufreq/boost"))
    return {
        "governor": ",".join(sorted(governors)) or None,
        "frequency_khz": {
            **{which: number(read(policies[0] / f"scaling_{which}_freq")) for which in ("cur", "min", "max")},
            "hardware_max": number(read(policies[0] / "cpuinfo_max_freq")),
        },
        "turbo": 1 - no_turbo if no_turbo is not None else boost,
    }


def hypervisor() -> bool | None:
    """Whether this is a virtual machine; null where the processor does not say."""
    flags = next((line for line in (read("/proc/cpuinfo") or "").splitlines() if line.startswith("flags")), None)
    return None if flags is None else "hypervisor" in flags.split()


def cgroup() -> Request:
    """Cores this process may use by its control group (null: no limit known), and time it was held up so far."""
    own = next((line[3:] for line in (read("/proc/self/cgroup") or "").splitlines() if line.startswith("0::")), "/")
    root = Path("/sys/fs/cgroup")
    quotas = []
    for folder in [root / own.strip("/"), *(root / own.strip("/")).parents]:
        words = (read(folder / "cpu.max") or "max").split()
        if words[0] != "max":
            quotas.append(int(words[0]) / int(words[1]))
    quota, period = (number(read(root / f"cpu/cpu.cfs_{name}_us")) for name in ("quota", "period"))
    if quota is not None and quota > 0 and period:
        quotas.append(quota / period)
    stat = read(root / own.strip("/") / "cpu.stat") or read(root / "cpu/cpu.stat") or ""
    held = {words[0]: int(words[1]) for line in stat.splitlines() if len(words := line.split()) == 2}
    throttled_ns = held.get("throttled_time", held["throttled_usec"] * 1000 if "throttled_usec" in held else None)
    return {"cpu_quota_cores": min(quotas, default=None), "cpu_throttled_ns": throttled_ns}


def cache_bytes() -> int | None:
    """Size of the largest cache of the first core."""
    sizes = [read(path) for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    units = {"K": 2**10, "M": 2**20}
    known = [int(size[:-1]) * units[size[-1]] for size in sizes if size and size[:-1].isdigit() and size[-1] in units]
    known += [size for name in ("hw.l3cachesize", "hw.l2cachesize") if (size := number(sysctl(name)))]
    return max(known, default=None)


def cpu_model() -> str | None:
    """The processor's name: x86 says ``model name``, boards ``Model`` or only part numbers."""
    lines = (line.partition(":") for line in (read("/proc/cpuinfo") or "").splitlines())
    described = {key.strip(): value.strip() for key, _, value in lines}
    for key in ("model name", "Model", "Hardware", "CPU part"):
        if described.get(key):
            return described[key]
    return sysctl("machdep.cpu.brand_string") or platform.processor() or None


def jiffies() -> Request:
    """Clock ticks since boot, all cores: in total, idle, and stolen by the host of a virtual machine."""
    line = (read("/proc/stat") or "").partition("\n")[0].split()[1:9]
    known = len(line) == 8
    return {
        "total_jiffies": sum(map(int, line)) if known else None,
        "idle_jiffies": int(line[3]) + int(line[4]) if known else None,
        "steal_jiffies": int(line[7]) if known else None,
    }


def memory() -> Request:
    """Memory and swap of the machine in bytes."""
    lines = (line.split() for line in (read("/proc/meminfo") or "").splitlines())
    kilobytes = {words[0]: number(words[1]) for words in lines if len(words) > 1}
    known = {key: value * 1024 for key, value in kilobytes.items() if value is not None}
    return {
        "memory_total_bytes": known.get("MemTotal:") or number(sysctl("hw.memsize")),
        "memory_available_bytes": known.get("MemAvailable:"),
        "swap_total_bytes": known.get("SwapTotal:"),
        "swap_free_bytes": known.get("SwapFree:"),
    }


def sysctl(name: str) -> str | None:
    """A macOS kernel value, or None elsewhere."""
    if sys.platform != "darwin":
        return None
    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def read(path: str | Path) -> str | None:
    """A small file's text, or None."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def number(text: str | None) -> int | None:
    """The whole number a file or command gave, or None."""
    return int(text) if text is not None and text.lstrip("-").isdigit() else None
