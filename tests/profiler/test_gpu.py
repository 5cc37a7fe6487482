"""A GPU in the worker, on a driver that is made up: what is waited for, warmed, counted and told."""

import types
from collections.abc import Callable, Iterator

import pytest
from contracts.cuda_driver import CudaDriverContract, FakeDriver

from profiler.worker import server
from profiler.worker.gpu import MIB, Gpu
from profiler.worker.protocol import WorkerError

CALL_NS = 500_000
HELLO = {"op": "hello", "runtime": "made up", "threads": 1, "cores": None, "provider": "cuda"}


class TestFakeDriver(CudaDriverContract):
    @pytest.fixture
    def driver(self) -> FakeDriver:
        return FakeDriver()


class Runtime:
    """Programs of one call that is told to the GPU and waited for."""

    version = "made-up-1+cuda"

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver
        self.fails: Exception | None = None

    def load(self, stages: list[dict]) -> types.SimpleNamespace:
        if self.fails is not None:
            raise self.fails
        self.driver.allocate(3 * MIB)
        return types.SimpleNamespace(calls=[lambda: self.driver.work(CALL_NS), self.driver.synchronize])

    def unload(self, program: types.SimpleNamespace) -> None:
        self.driver.free += 3 * MIB


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """What the worker finds, its clocks those of the made-up machine."""
    driver = FakeDriver()
    now: Callable[[], int] = lambda: driver.now_ns  # noqa: E731
    monkeypatch.setattr(server, "open_driver", lambda: driver)
    monkeypatch.setattr(server, "Gpu", lambda found: Gpu(found, lambda: found.now_ns / 1e9))
    monkeypatch.setattr(
        server, "time", types.SimpleNamespace(perf_counter_ns=now, thread_time_ns=now, process_time_ns=now)
    )
    monkeypatch.setitem(server.RUNTIMES, "made up", lambda threads, driver: Runtime(driver))
    return driver


@pytest.fixture
def worker(driver: FakeDriver) -> Iterator[server.Worker]:
    worker = server.Worker()
    worker.handle(HELLO)
    return worker


def counted(worker: server.Worker) -> dict[str, int]:
    return worker.handle({"op": "counters"})["counters"]


def timed(worker: server.Worker, calls: int = 4, samples: int = 3) -> dict[str, list[int]]:
    handle = worker.handle({"op": "load", "stages": []})["handle"]
    return worker.handle({"op": "time", "handle": handle, "calls": calls, "samples": samples})


def test_a_sample_is_of_its_calls_alone_and_of_all_of_them(worker: server.Worker, driver: FakeDriver) -> None:
    driver.work(10**9)  # somebody else's, not done when it begins
    walls = timed(worker)["wall_ns"]
    assert all(4 * CALL_NS <= wall <= 1.05 * 4 * CALL_NS for wall in walls)


def test_what_is_not_waited_for_is_not_timed(worker: server.Worker, driver: FakeDriver) -> None:
    """Were the end of a sample not waited for, calls that return at once would look free."""
    worker.programs["eager"] = types.SimpleNamespace(calls=[lambda: driver.work(CALL_NS)])
    walls = worker.handle({"op": "time", "handle": "eager", "calls": 4, "samples": 3})["wall_ns"]
    assert all(4 * CALL_NS <= wall <= 1.05 * 4 * CALL_NS for wall in walls)


def test_the_gpus_own_clock_is_told_beside(worker: server.Worker) -> None:
    before, walls = counted(worker), timed(worker)["wall_ns"]
    event_ns = counted(worker)["gpu_event_ns"] - before["gpu_event_ns"]
    assert 0.95 * sum(walls) <= event_ns <= sum(walls)


def test_it_is_warm_before_anything_is_timed(worker: server.Worker, driver: FakeDriver) -> None:
    driver.clock = lambda now_ns: min(1980, 345 + now_ns // 100_000)  # 163 ms to the highest
    before = counted(worker)
    timed(worker)
    assert driver.now_ns > 163e6
    assert counted(worker)["gpu_sm_khz"] - before["gpu_sm_khz"] == 2 * 1_980_000  # after the first and the last sample


def test_a_clock_that_never_stands_still_is_not_waited_for_forever(worker: server.Worker, driver: FakeDriver) -> None:
    driver.clock = lambda now_ns: 500 if now_ns // 20_000_000 % 2 else 1500
    timed(worker)
    assert 2e9 <= driver.now_ns < 2.2e9


def test_a_gpu_that_tells_nothing_is_timed_all_the_same(worker: server.Worker, driver: FakeDriver) -> None:
    driver.clock, driver.slowed = lambda now_ns: None, None
    assert len(timed(worker)["wall_ns"]) == 3
    assert not {"throttles", "gpu_sm_khz"} & set(counted(worker))


@pytest.mark.parametrize(
    ("reasons", "grows"), [(0x0, 0), (0x1, 0), (0x2, 0), (0x4, 1), (0x8, 1), (0x20, 1), (0x40, 1), (0x80, 1)]
)
def test_being_slowed_down_is_counted(worker: server.Worker, driver: FakeDriver, reasons: int, grows: int) -> None:
    before = counted(worker)
    driver.slowed = reasons
    timed(worker)
    driver.slowed = 0  # over, when somebody looks
    assert counted(worker)["throttles"] - before["throttles"] == grows
    assert counted(worker)["throttles"] - before["throttles"] == grows  # told once


def test_memory_of_a_program_is_told(worker: server.Worker, driver: FakeDriver) -> None:
    before = counted(worker)["gpu_loaded_bytes"]
    handle = worker.handle({"op": "load", "stages": []})["handle"]
    assert counted(worker)["gpu_loaded_bytes"] - before == 3 * MIB
    worker.handle({"op": "unload", "handle": handle})
    assert driver.free == 1024 * MIB


@pytest.mark.parametrize("words", ["CUDA out of memory. Tried to allocate 2.00 GiB", "Failed to allocate memory for"])
def test_want_of_memory_is_an_answer_and_no_crash(worker: server.Worker, words: str) -> None:
    assert isinstance(worker.runtime, Runtime)
    worker.runtime.fails = RuntimeError(words)
    with pytest.raises(WorkerError, match="out of GPU memory: 1024 of 1024 MiB were free before"):
        worker.handle({"op": "load", "stages": []})
    worker.runtime.fails = RuntimeError("another thing")
    with pytest.raises(RuntimeError, match="another thing"):
        worker.handle({"op": "load", "stages": []})


def test_reference_workloads_are_the_gpus_own(worker: server.Worker, driver: FakeDriver) -> None:
    for workload in ("compute", "memory"):
        since = driver.busy_ns
        taken = worker.handle({"op": "reference", "workload": workload, "calls": 2, "samples": 2})
        assert driver.busy_ns - since >= sum(taken["wall_ns"]) > 0


def test_facts_tell_of_it(worker: server.Worker) -> None:
    facts = worker.handle({"op": "facts"})["facts"]
    assert facts["gpu_name"] == "made up"
    assert facts["gpu_memory_total_bytes"] == 1024 * MIB
    survey = worker.handle({"op": "survey", "seconds": 0.01})
    assert survey["facts"]["gpu_sm_mhz"] == survey["after"]["gpu_sm_mhz"] == 1000


def test_kernels_are_not_told_one_by_one(worker: server.Worker) -> None:
    with pytest.raises(WorkerError, match="kernels of a GPU are not timed one by one"):
        worker.handle({"op": "profile", "handle": "p1", "calls": 1})


def test_an_unknown_provider_is_named() -> None:
    with pytest.raises(WorkerError, match="no provider 'rocm'; known: cpu, cuda"):
        server.Worker().handle({**HELLO, "runtime": "onnxruntime", "provider": "rocm"})
