"""Scripted devices: what each tells, and what is made of it."""

import copy
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import LocalDevice, Target, open_session
from profiler.fingerprint import IDENTIFYING, changes, fingerprint
from profiler.preflight import Preflight, Surveyor, judge
from profiler.preflight_checks import CHECKS

HERE = Target("here", "onnxruntime-1.32.0", 1, "thread_cpu")
GIB = 2**30


def samples(spread=0.004, late=0.0, lost=0.0, number=400):
    rng = random.Random(0)
    cpu = [int(2e6 * (1 + rng.gauss(0, spread)) * (1.5 if rng.random() < late else 1)) for _ in range(number)]
    return {"wall_ns": [int(taken / (1 - lost)) for taken in cpu], "cpu_ns": cpu}


def busy(facts, elapsed_s=1.0, cores=0.0, steal=0, waited=0.0):
    """The facts ``elapsed_s`` later: this thread ran, and so did others on so many cores."""
    after = copy.deepcopy(facts)
    ticks = round(100 * elapsed_s * facts["cores"])
    after["total_jiffies"] += ticks
    after["idle_jiffies"] += round(ticks - 100 * elapsed_s * (0.8 + cores) - steal)
    after["steal_jiffies"] += steal
    total = 1000 + round(waited * elapsed_s * 1e6)
    after["pressure_cpu"] = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={total}\nfull avg10=0.00 total=0"
    return after


def linux(**more):
    """A quiet desktop on Linux with all set as one would for a measurement."""
    calm = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\nfull avg10=0.00 total=0"
    return {
        "cpu_model": "Some CPU", "board": None, "machine": "x86_64", "system": "Linux", "kernel": "6.1.0",
        "host": "abc", "hypervisor": False, "cores": 4, "affinity": [0, 1, 2, 3], "threads": 1,
        "governor": "performance", "turbo": 0, "smt": 0, "throttled_bits": None, "mains": None,
        "frequency_khz": {"cur": 3000000, "min": 3000000, "max": 3000000, "hardware_max": 3000000},
        "load_average": [0.05, 0.1, 0.1], "total_jiffies": 10_000, "idle_jiffies": 9_000, "steal_jiffies": 0,
        "pressure_cpu": calm, "pressure_memory": calm, "pressure_io": calm,
        "cpu_quota_cores": None, "cpu_throttled_ns": 0,
        "memory_total_bytes": 16 * GIB, "memory_available_bytes": 12 * GIB,
        "swap_total_bytes": 0, "swap_free_bytes": 0, "disk_free_bytes": 50 * GIB,
        "temperature_millidegrees": {"thermal_zone0": 45000, "thermal_zone1": None}, "clock_source": "tsc",
        "clock_resolution_ns": {"wall": 1.0, "cpu": 1.0},
        "python": "3.11.7", "numpy": "2.4.6", "libc": "glibc-2.36", "runtime": "onnxruntime-1.32.0",
    } | more  # fmt: skip


def survey(facts=None, *, noise=None, processes=(), wall_step=50, cpu_step=300, back=0, **later):
    facts = linux() if facts is None else facts
    known = facts.get("total_jiffies") is not None
    return {
        "facts": facts,
        "after": busy(facts, **later) if known else facts,
        "elapsed_s": 1.0,
        "noise": noise or samples(),
        "clock": {"wall": {"step_ns": wall_step, "back": back}, "cpu": {"step_ns": cpu_step, "back": 0}},
        "processes": list(processes),
    }


def found(preflight: Preflight, name: str):
    return next(finding for finding in preflight.findings if finding.name == name)


def test_a_machine_that_is_set_up_is_quiet():
    seen = judge(survey(), HERE)
    assert (seen.verdict, seen.unknown) == ("quiet", ("throttling", "power"))
    assert seen.clock.clock == "wall"
    assert "suggested is wall" in found(seen, "clock").value
    assert seen.fingerprint == fingerprint(linux(), "thread_cpu")
    assert json.loads(json.dumps(seen.as_dict()))["verdict"] == "quiet"


def test_a_laptop_as_it_comes_is_usable():
    facts = linux(
        governor="powersave", turbo=1, smt=1, mains=0,
        frequency_khz={"cur": 2900000, "min": 400000, "max": 2800000, "hardware_max": 4600000},
        temperature_millidegrees={"thermal_zone0": 72000}, load_average=[1.4, 0.9, 0.5],
        swap_total_bytes=8 * GIB, swap_free_bytes=7 * GIB,
    )  # fmt: skip
    seen = judge(survey(facts), HERE)
    assert seen.verdict == "usable"
    warned = {finding.name for finding in seen.findings if finding.level == "warn"}
    assert warned == {
        "governor", "frequency", "turbo", "hyper-threading", "power", "temperature", "load", "swap",
    }  # fmt: skip
    assert all(finding.advice for finding in seen.findings if finding.level != "ok")
    assert "scaling_governor" in found(seen, "governor").advice
    assert "no_turbo" in found(seen, "turbo").advice
    assert "the processor can 4.60 GHz" in found(seen, "frequency").value


def test_a_hot_laptop_that_slows_down_is_disturbed():
    facts = linux(
        frequency_khz={"cur": 2100000, "min": 400000, "max": 4600000, "hardware_max": 4600000},
        temperature_millidegrees={"thermal_zone0": 91000},
    )
    seen = judge(survey(facts), HERE)
    assert seen.verdict == "disturbed"
    assert found(seen, "frequency").disturbs
    assert found(seen, "temperature").disturbs


def pi(**more):
    return linux(
        cpu_model="Raspberry Pi 4 Model B Rev 1.4", board="Raspberry Pi 4 Model B Rev 1.4", machine="aarch64",
        hypervisor=None, smt=None, turbo=None, throttled_bits=0, clock_source="arch_sys_counter",
        frequency_khz={"cur": 1500000, "min": 600000, "max": 1500000, "hardware_max": 1500000},
        memory_available_bytes=3 * GIB,
        pressure_cpu=None, pressure_memory=None, pressure_io=None,
    ) | more  # fmt: skip


def test_a_board_with_a_weak_supply_is_unusable():
    seen = judge(survey(pi(throttled_bits=0x50005)), HERE)
    assert seen.verdict == "unusable"
    assert found(seen, "throttling").value == "now: under-voltage, throttled"
    assert "power supply" in found(seen, "throttling").advice
    assert {"memory pressure", "I/O pressure", "turbo"} <= set(seen.unknown)


def test_a_board_that_was_hot_once_is_usable_and_its_register_is_read_twice():
    assert judge(survey(pi(throttled_bits=0)), HERE).verdict == "quiet"
    seen = judge(survey(pi(throttled_bits=0x80000)), HERE)
    assert (seen.verdict, found(seen, "throttling").value) == ("usable", "since boot: soft temperature limit")
    meanwhile = survey(pi(throttled_bits=0))
    meanwhile["after"]["throttled_bits"] = 0x2
    assert judge(meanwhile, HERE).verdict == "unusable"


def test_a_mac_tells_little_and_that_is_said():
    facts = {
        "cpu_model": "Apple M2", "machine": "arm64", "system": "Darwin", "kernel": "23.1.0", "cores": 8,
        "affinity": None, "threads": 1, "governor": None, "turbo": None, "smt": None, "mains": None,
        "frequency_khz": {"cur": None, "min": None, "max": None, "hardware_max": None},
        "load_average": [1.2, 1.5, 1.4], "total_jiffies": None, "idle_jiffies": None, "steal_jiffies": None,
        "pressure_cpu": None, "cpu_quota_cores": None, "cpu_throttled_ns": None, "clock_source": None,
        "memory_total_bytes": 16 * GIB, "memory_available_bytes": None, "disk_free_bytes": 90 * GIB,
        "temperature_millidegrees": {}, "python": "3.12.1", "numpy": "2.1.0", "runtime": "onnxruntime-1.20.0",
    }  # fmt: skip
    told = survey(facts, wall_step=41, cpu_step=1000)
    told["processes"] = None
    seen = judge(told, HERE)
    assert seen.verdict == "quiet"
    assert {"governor", "steal", "CPU pressure", "other processes", "memory", "clock source"} <= set(seen.unknown)
    assert not {finding.name for finding in seen.findings} & set(seen.unknown)
    assert len(seen.findings) + len(seen.unknown) == len(CHECKS) + 1


def test_a_shared_cloud_machine():
    facts = linux(hypervisor=True, governor=None, turbo=None, frequency_khz={}, temperature_millidegrees={})
    calm = judge(survey(facts), HERE)
    assert (calm.verdict, calm.clock.clock) == ("usable", "thread_cpu")
    assert "virtual machine" in calm.clock.reason
    process = {"pid": 77, "name": "ffmpeg", "cores": 1.4}
    told = survey(facts, noise=samples(lost=0.3), processes=[process], cores=1.4, steal=30, waited=0.4)
    seen = judge(told, HERE)
    assert seen.verdict == "disturbed"
    disturbing = {finding.name for finding in seen.findings if finding.disturbs}
    assert disturbing == {"other processes", "steal", "CPU pressure"}
    assert "ffmpeg (77, 140%)" in found(seen, "other processes").value
    assert "kill -STOP 77" in found(seen, "other processes").advice
    assert seen.clock.clock == "thread_cpu"
    assert "30.0% of one thread's time" in seen.clock.reason


def test_the_clock_that_counts_is_the_one_that_is_looked_at():
    wall = Target("here", "onnxruntime-1.32.0", 1, "wall")
    rough = {"wall_ns": [int(2e6 * (1 + 0.5 * (i % 3))) for i in range(99)], "cpu_ns": [2_000_000] * 99}
    assert found(judge(survey(noise=rough), HERE), "noise").level == "ok"
    seen = judge(survey(noise=rough), wall)
    assert found(seen, "noise").disturbs
    assert (seen.clock.clock, found(seen, "clock").level) == ("thread_cpu", "warn")
    assert "`clock: thread_cpu` below here" in found(seen, "clock").advice


def test_several_threads_are_told_on_the_wall_clock():
    two = Target("here", "onnxruntime-1.32.0", 2, "wall")
    assert judge(survey(noise=samples(lost=0.4)), two).clock.clock == "wall"
    many = Target("here", "onnxruntime-1.32.0", 8, "wall")
    assert "`threads: 4` or fewer" in found(judge(survey(), many), "threads").advice
    assert judge(survey(), many).verdict == "unusable"


@pytest.mark.parametrize(
    ("step_ns", "level"), [(10_000, "ok"), (20_000, "warn"), (250_000, "warn"), (16_000_000, "fail"), (None, "fail")]
)
def test_a_coarse_clock(step_ns, level):
    seen = judge(survey(cpu_step=step_ns), HERE)
    assert found(seen, "clock resolution").level == level
    assert seen.clock.clock == "wall"


def test_a_clock_that_goes_back_is_of_no_use():
    seen = judge(survey(back=2), Target("here", "onnxruntime-1.32.0", 1, "wall"))
    assert seen.verdict == "unusable"
    assert found(seen, "clock resolution").value == "the clock went back 2 times"


def test_a_containers_quota():
    assert judge(survey(linux(cpu_quota_cores=0.5)), HERE).verdict == "unusable"
    held = survey(linux(cpu_quota_cores=1.0))
    held["after"]["cpu_throttled_ns"] = 40_000_000
    seen = judge(held, HERE)
    assert (seen.verdict, found(seen, "CPU quota").value) == ("disturbed", "1 cores; held for 40 ms")
    assert "--cpus" in found(seen, "CPU quota").advice


@pytest.mark.parametrize(
    ("changed", "name", "verdict"),
    [
        ({"memory_available_bytes": GIB // 2}, "memory", "usable"),
        ({"memory_available_bytes": GIB // 8}, "memory", "unusable"),
        ({"disk_free_bytes": 2**20}, "disk", "unusable"),
        ({"clock_source": "hpet"}, "clock source", "usable"),
        ({"smt": 1}, "hyper-threading", "usable"),
    ],
)
def test_one_thing_at_a_time(changed, name, verdict):
    seen = judge(survey(linux(**changed)), HERE)
    assert (seen.verdict, {f.name for f in seen.findings if f.level != "ok"}) == (verdict, {name})


def test_a_gpu_is_called_unproven():
    seen = judge(survey(), Target("gpu", "onnxruntime-1.32.0+cuda", 1, "wall"))
    assert seen.verdict == "usable"
    assert "unproven" in found(seen, "GPU").value


def test_a_gpu_that_is_slowed_down_disturbs():
    facts = linux(gpu_name="T4", gpu_sm_mhz=585, gpu_sm_max_mhz=1590, gpu_celsius=88, gpu_throttle_reasons=0x21)
    seen = judge(survey(facts), Target("gpu", "torch-2.13.0+cuda", 1, "wall"))
    assert seen.verdict == "disturbed"
    assert found(seen, "GPU").value == (
        "T4, 585 of 1590 MHz, 88 °C, slowed down (NVML's reasons 0x21);"
        " unproven: nothing was ever run on a GPU with this"
    )


@given(st.sets(st.sampled_from(sorted(linux()))))
def test_whatever_a_device_does_not_tell_is_unknown_and_no_error(missing):
    facts = {name: value for name, value in linux().items() if name not in missing}
    told = {"facts": facts, "after": facts, "elapsed_s": 1.0, "noise": {}, "clock": {}, "processes": None}
    seen = judge(told, HERE)
    assert len(seen.findings) + len(seen.unknown) == len(CHECKS) + 1
    assert judge({}, HERE).verdict == "usable"


def test_a_fingerprint_is_of_the_state_and_not_of_the_moment():
    moment = linux(load_average=[9.0, 9.0, 9.0], time_s=5.0, memory_available_bytes=1, disk_free_bytes=2)
    moment["frequency_khz"] = {**moment["frequency_khz"], "cur": 123}
    assert fingerprint(moment, "wall") == fingerprint(linux(), "wall")
    assert changes(linux(), moment, "wall") == ()
    assert fingerprint(linux(), "thread_cpu") != fingerprint(linux(), "wall")


@pytest.mark.parametrize("name", IDENTIFYING)
def test_each_fact_that_identifies_changes_the_fingerprint(name):
    before = linux(board="b", mains=1, cpu_quota_cores=2.0, gpu_name="T4", gpu_driver="580")
    other = before | {name: "another"}
    assert fingerprint(other, "wall") != fingerprint(before, "wall")
    assert changes(before, other, "wall") == (f"{name} was {before[name]}, is another",)


def test_facts_of_older_code_are_no_other_device():
    old = {name: value for name, value in linux().items() if name not in {"turbo", "libc", "smt"}}
    assert changes(old, linux(), "wall") == ()
    slower = linux(frequency_khz={"cur": 1, "min": 1, "max": 2000000, "hardware_max": 3000000})
    assert changes(old, slower, "wall") == (
        "frequency_min_khz was 3000000, is 1", "frequency_max_khz was 3000000, is 2000000",
    )  # fmt: skip


def test_this_machine_is_surveyed_by_the_worker():
    pytest.importorskip("onnxruntime", reason="the worker's runtime")
    session = open_session(LocalDevice(name="here", kind="local"))
    try:
        assert isinstance(session, Surveyor)
        told = session.survey(0.3)
        again = session.facts()
    finally:
        session.close()
    seen = judge(told, session.target)
    assert {"noise", "threads", "disk", "clock resolution", "versions"} <= {finding.name for finding in seen.findings}
    assert seen.fingerprint == fingerprint(again, session.target.clock)
    assert judge(told, session.target) == seen
