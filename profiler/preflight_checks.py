"""The single checks of a preflight: each reads a survey and says what it found, or None if it is not told.

Thresholds are of two kinds: what a runtime's latency was seen to follow (steal, pressure, other
processes, spread), and what people who measure turn off (frequency scaling, turbo, shared cores).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median, quantiles

from profiler.plan import MAX_SAMPLE_MS
from profiler.survey import Finding, Level, Survey
from profiler.throttling import advice, named
from profiler.worker.gpu import SLOWED

MIB, GIB = 2**20, 2**30

STEPS_A_SAMPLE = 200
"""A sample lasts at least so many steps of its clock, so that a step is at most half a per cent of it."""
BUSY_CORES = 0.1
"""Cores that other processes may keep busy: the daemons of an idle machine stay far below."""
_TSC_LIKE = ("tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page")


def _share(name: str, value: float | None, limit: float, text: str, advice: str) -> Finding | None:
    if value is None:
        return None
    told = text.format(value=f"{value:.1%}")
    return Finding(name, "ok", told) if value <= limit else Finding(name, "warn", told, advice, disturbs=True)


def threads(seen: Survey) -> Finding | None:
    """More threads than cores wait for one another."""
    if seen.cores is None:
        return None
    told = f"{seen.target.threads} of {seen.cores} cores"
    if seen.target.threads <= seen.cores:
        return Finding("threads", "ok", told)
    return Finding("threads", "fail", told, f"put `threads: {seen.cores}` or fewer in devices.yaml")


def quota(seen: Survey) -> Finding | None:
    """A container's share of CPU time: who uses it up is held until the next tenth of a second."""
    cores, held_ns = seen.facts.get("cpu_quota_cores"), seen.grown("cpu_throttled_ns")
    if cores is None:
        return None if held_ns is None else Finding("CPU quota", "ok", "none")
    advice = f"start the container with at least {seen.target.threads + 1} CPUs (docker run --cpus), or without a limit"
    if cores < seen.target.threads:
        return Finding("CPU quota", "fail", f"{cores:g} cores for {seen.target.threads} threads", advice)
    if held_ns:
        return Finding("CPU quota", "warn", f"{cores:g} cores; held for {held_ns / 1e6:.0f} ms", advice, disturbs=True)
    return Finding("CPU quota", "ok", f"{cores:g} cores")


def governor(seen: Survey) -> Finding | None:
    """Only ``performance`` keeps the frequency where it is."""
    name = seen.facts.get("governor")
    if name is None:
        return None
    limits = seen.facts.get("frequency_khz") or {}
    if name == "performance" or (limits.get("min") is not None and limits.get("min") == limits.get("max")):
        return Finding("governor", "ok", name)
    advice = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    return Finding("governor", "warn", name, f"{advice} (until the next boot)")


def frequency(seen: Survey) -> Finding | None:
    """A limit below what the processor can, or a frequency that fell while a thread worked."""
    limits, after = seen.facts.get("frequency_khz") or {}, seen.after.get("frequency_khz") or {}
    highest, possible, current = limits.get("max"), limits.get("hardware_max"), after.get("cur")
    if highest is None:
        return None
    told = f"{_ghz(limits.get('min'))} to {_ghz(highest)}, {_ghz(current)} under load"
    if current is not None and current < 0.9 * highest and seen.facts.get("governor") == "performance":
        return Finding("frequency", "warn", told, "it cannot hold its frequency: let it cool down", disturbs=True)
    if possible is not None and highest < possible and limits.get("min") != highest:
        advice = f"echo {possible} | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq, or keep the limit"
        return Finding("frequency", "warn", f"{told}; the processor can {_ghz(possible)}", advice)
    return Finding("frequency", "ok", told)


def _ghz(khz: float | None) -> str:
    return "?" if khz is None else f"{khz / 1e6:.2f} GHz"


def turbo(seen: Survey) -> Finding | None:
    """Turbo depends on heat and on what the other cores do."""
    on = seen.facts.get("turbo")
    if on is None:
        return None
    if not on:
        return Finding("turbo", "ok", "off")
    return Finding(
        "turbo",
        "warn",
        "on",
        "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo (Intel), or"
        " echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost (others)",
    )


def shared_cores(seen: Survey) -> Finding | None:
    """Two threads of one core share its units and caches."""
    on = seen.facts.get("smt")
    if on is None:
        return None
    if not on:
        return Finding("hyper-threading", "ok", "off")
    return Finding("hyper-threading", "warn", "on", "echo off | sudo tee /sys/devices/system/cpu/smt/control")


def virtual(seen: Survey) -> Finding | None:
    """A virtual machine shows neither its frequency nor its neighbours."""
    inside = seen.facts.get("hypervisor")
    if inside is None:
        return None
    if not inside:
        return Finding("virtual machine", "ok", "no")
    return Finding(
        "virtual machine", "warn", "yes: its frequency and neighbours are not seen", "use a host of your own"
    )


def power(seen: Survey) -> Finding | None:
    """A laptop on its battery saves power."""
    mains = seen.facts.get("mains")
    if mains is None:
        return None
    return Finding("power", "ok", "mains") if mains else Finding("power", "warn", "battery", "plug it in")


def other_processes(seen: Survey) -> Finding | None:
    """What kept cores busy during the survey."""
    cores = seen.others_cores
    named = ", ".join(f"{p['name']} ({p['pid']}, {p['cores']:.0%})" for p in seen.processes)
    if cores is None:
        if not named:
            return None
        cores = sum(process["cores"] for process in seen.processes)
    told = f"{cores:.2f} cores busy" + (f": {named}" if named and cores > BUSY_CORES else "")
    if cores <= BUSY_CORES:
        return Finding("other processes", "ok", told)
    pids = " ".join(str(process["pid"]) for process in seen.processes)
    stop = f"stop them, or pause them meanwhile: kill -STOP {pids} (kill -CONT afterwards)"
    return Finding("other processes", "warn", told, stop if pids else "stop what runs there", disturbs=True)


def load(seen: Survey) -> Finding | None:
    """The mean number of running tasks over a minute, as a warning of what comes and goes."""
    averages, cores = seen.facts.get("load_average"), seen.facts.get("cores")
    if not averages or not cores:
        return None
    told = f"{averages[0]:.2f} on {cores} cores"
    if averages[0] <= 0.25 * cores:
        return Finding("load", "ok", told)
    return Finding("load", "warn", told, "something ran within the last minute: see `uptime`, wait until it falls")


def steal(seen: Survey) -> Finding | None:
    """Time the host of a virtual machine gave to others."""
    advice = "other guests take time of this virtual machine: use a host or cores of your own"
    return _share("steal", seen.share_of_ticks("steal_jiffies"), 0.01, "{value} of the CPU time", advice)


def cpu_pressure(seen: Survey) -> Finding | None:
    """Tasks waited for a core."""
    return _share(
        "CPU pressure", seen.pressure("cpu"), 0.05, "a task waited {value} of the time", "stop other processes"
    )


def memory_pressure(seen: Survey) -> Finding | None:
    """Tasks waited for memory."""
    advice = "memory is short: stop what uses it, see `ps aux --sort=-rss | head`"
    return _share("memory pressure", seen.pressure("memory"), 0.01, "a task waited {value} of the time", advice)


def io_pressure(seen: Survey) -> Finding | None:
    """Tasks waited for a disk."""
    advice = "something reads or writes a lot: see `iotop`, or wait for it to end"
    return _share("I/O pressure", seen.pressure("io"), 0.20, "a task waited {value} of the time", advice)


def temperature(seen: Survey) -> Finding | None:
    """Heat makes a processor slow down: boards from 80 degrees, most others from 90 to 100."""
    zones = [value / 1000 for value in (seen.after.get("temperature_millidegrees") or {}).values() if value]
    known = [degrees for degrees in zones if 0 < degrees < 150]
    if not known:
        return None
    told = f"{max(known):.0f} °C at the hottest"
    if max(known) < 70:
        return Finding("temperature", "ok", told)
    advice = "let it cool down before measuring, or cool it better"
    return Finding("temperature", "warn", told, advice, disturbs=max(known) >= 80)


def throttling(seen: Survey) -> Finding | None:
    """What a Raspberry Pi says of its voltage and heat, now and since boot."""
    registers = [facts.get("throttled_bits") for facts in (seen.facts, seen.after)]
    if None in registers:
        return None
    bits = int(registers[0] or 0) | int(registers[1] or 0)
    if now := named(bits):
        return Finding("throttling", "fail", f"now: {', '.join(now)}", advice(bits))
    if since := named(bits >> 16):
        return Finding("throttling", "warn", f"since boot: {', '.join(since)}", advice(bits >> 16))
    return Finding("throttling", "ok", "none since boot")


def memory(seen: Survey) -> Finding | None:
    """Room for the graphs that are loaded together."""
    free = seen.facts.get("memory_available_bytes")
    if free is None:
        return None
    told, advice = f"{free / GIB:.1f} GiB free", "stop what uses it, and give a smaller --memory-limit-mib"
    if free >= GIB:
        return Finding("memory", "ok", told)
    return Finding("memory", "fail" if free < GIB / 4 else "warn", told, advice)


def swap(seen: Survey) -> Finding | None:
    """Swapped-out pages come back while something is timed."""
    total, free = seen.facts.get("swap_total_bytes"), seen.facts.get("swap_free_bytes")
    if total is None or free is None:
        return None
    if total - free < 64 * MIB:
        return Finding("swap", "ok", "not used" if total else "none")
    return Finding(
        "swap", "warn", f"{(total - free) / GIB:.1f} GiB in use", "sudo swapoff -a (sudo swapon -a afterwards)"
    )


def disk(seen: Survey) -> Finding | None:
    """Room for graphs and outputs."""
    free = seen.facts.get("disk_free_bytes")
    if free is None:
        return None
    told = f"{free / GIB:.1f} GiB free"
    if free >= GIB:
        return Finding("disk", "ok", told)
    return Finding("disk", "fail" if free < 100 * MIB else "warn", told, "make room where temporary files go")


def clock_source(seen: Survey) -> Finding | None:
    """The kernel's clock: all but the processor's own counter take a microsecond or more to read."""
    name = seen.facts.get("clock_source")
    if name is None:
        return None
    if name in _TSC_LIKE:
        return Finding("clock source", "ok", name)
    where = "/sys/devices/system/clocksource/clocksource0"
    advice = f"echo tsc | sudo tee {where}/current_clocksource (what there is: {where}/available_clocksource)"
    return Finding("clock source", "warn", f"{name}, which is slow to read", advice)


def resolution(seen: Survey) -> Finding | None:
    """The step of the clock that counts, against the longest sample."""
    clock = "wall" if seen.target.clock == "wall" else "cpu"
    told = seen.clocks.get(clock)
    if told is None:
        return None
    step_ns, back = told.get("step_ns"), told.get("back", 0)
    other = "thread_cpu" if clock == "wall" else "wall"
    if back:
        return Finding("clock resolution", "fail", f"the clock went back {back} times", f"use `clock: {other}`")
    if step_ns is None:
        return Finding("clock resolution", "fail", "the clock stood still for 0.1 s", f"use `clock: {other}`")
    sample_ms = STEPS_A_SAMPLE * step_ns / 1e6
    value = f"steps of {step_ns / 1000:.3g} µs"
    if sample_ms <= 2.0:
        return Finding("clock resolution", "ok", value)
    level: Level = "fail" if sample_ms > MAX_SAMPLE_MS else "warn"
    return Finding("clock resolution", level, f"{value}: samples of {sample_ms:.0f} ms", f"use `clock: {other}`")


def noise(seen: Survey) -> Finding | None:
    """Spread of the same work's time, sample by sample, on the clock that counts."""
    taken = seen.wall_ns if seen.target.clock == "wall" else seen.cpu_ns
    if len(taken) < 20:
        return None
    low, _, high = quantiles(taken, n=4)
    spread, late = (high - low) / median(taken), sum(t > 1.25 * median(taken) for t in taken) / len(taken)
    lost = "" if seen.lost_share is None else f", {max(0.0, seen.lost_share):.1%} of the wall time lost"
    told = f"{spread:.1%} between the quartiles, {late:.1%} over 1.25 times the median{lost}"
    if spread <= 0.03 and late <= 0.05:
        return Finding("noise", "ok", told)
    advice = "the same work takes unequal time: see the other findings, or measure at a quieter time"
    return Finding("noise", "warn", told, advice, disturbs=spread > 0.06 or late > 0.10)


def versions(seen: Survey) -> Finding | None:
    """For the record."""
    facts = seen.facts
    named = [f"Python {facts['python']}"] if facts.get("python") else []
    named += [f"numpy {facts['numpy']}"] if facts.get("numpy") else []
    named += [str(facts[name]) for name in ("runtime", "libc", "kernel") if facts.get(name)]
    return Finding("versions", "ok", ", ".join(named)) if named else None


def gpu(seen: Survey) -> Finding | None:
    """Its clock and heat, and said plainly: nobody has tried."""
    if not seen.gpu:
        return Finding("GPU", "ok", "not used")
    facts = seen.after
    reasons = (seen.facts.get("gpu_throttle_reasons") or 0) | (facts.get("gpu_throttle_reasons") or 0)
    told = [str(facts["gpu_name"])] if facts.get("gpu_name") else []
    if facts.get("gpu_sm_mhz") is not None:
        told += [f"{facts['gpu_sm_mhz']} of {facts.get('gpu_sm_max_mhz')} MHz"]
    told += [f"{facts['gpu_celsius']} °C"] if facts.get("gpu_celsius") is not None else []
    slowed = bool(reasons & SLOWED)
    told += [f"slowed down (NVML's reasons {reasons:#x})"] if slowed else []
    unproven = "unproven: nothing was ever run on a GPU with this"
    return Finding(
        "GPU",
        "warn",
        f"{', '.join(told)}; {unproven}" if told else unproven,
        "lock its clocks (nvidia-smi --lock-gpu-clocks), and compare latencies with another tool's",
        disturbs=slowed,
    )


CHECKS: Mapping[str, Callable[[Survey], Finding | None]] = {
    "noise": noise,
    "other processes": other_processes,
    "load": load,
    "steal": steal,
    "CPU pressure": cpu_pressure,
    "memory pressure": memory_pressure,
    "I/O pressure": io_pressure,
    "threads": threads,
    "CPU quota": quota,
    "governor": governor,
    "frequency": frequency,
    "turbo": turbo,
    "hyper-threading": shared_cores,
    "virtual machine": virtual,
    "throttling": throttling,
    "temperature": temperature,
    "power": power,
    "memory": memory,
    "swap": swap,
    "disk": disk,
    "clock source": clock_source,
    "clock resolution": resolution,
    "versions": versions,
    "GPU": gpu,
}
