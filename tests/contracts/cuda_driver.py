"""What every CUDA driver keeps, and one that is made up: subclass ``CudaDriverContract`` and give it ``driver``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from profiler.worker.cuda_driver import CudaDriver, GpuState, Kernel
from profiler.worker.gpu import CHAIN, MIB, multiplying, streaming
from profiler.worker.protocol import WorkerError


@dataclass
class FakeDriver:
    """A GPU of 1 GiB that works while the host goes on; time passes for who waits, and 1 µs with every call.

    ``clock(now_ns)`` is its SM clock in MHz, ``slowed`` NVML's reasons, ``busy_ns`` when it is done with all.
    """

    clock: Callable[[int], int | None] = lambda now_ns: 1000
    slowed: int | None = 0
    now_ns: int = 0
    busy_ns: int = 0
    free: int = 1024 * MIB
    stream: int = 1
    events: dict[int, int] = field(default_factory=dict)

    def work(self, took_ns: int) -> None:
        """Start something that takes so long."""
        self.now_ns += 1000
        self.busy_ns = max(self.busy_ns, self.now_ns) + took_ns

    def synchronize(self) -> None:
        self.now_ns = max(self.now_ns + 1000, self.busy_ns)

    def mark(self) -> int:
        self.work(0)
        self.events[len(self.events) + 1] = self.busy_ns
        return len(self.events)

    def elapsed_ns(self, start: int, end: int) -> int:
        return self.events[end] - self.events[start]

    def memory_bytes(self) -> tuple[int, int]:
        return self.free, 1024 * MIB

    def allocate(self, size_bytes: int) -> int:
        if size_bytes > self.free:
            raise WorkerError("out of GPU memory")
        self.free -= size_bytes
        return self.free + 1

    def copy(self, target: int, source: int, size_bytes: int) -> None:
        self.work(size_bytes // 100)

    def kernel(self, assembly: str, name: str) -> Kernel:
        if f".entry {name}(" not in assembly:
            raise WorkerError(f"there is no kernel {name}")
        return lambda blocks, threads, pointer, number: self.work(blocks * threads * number // 10_000)

    def state(self) -> GpuState:
        return GpuState("made up", "1", self.clock(self.now_ns), 2000, 1000, 40, self.slowed)


class CudaDriverContract:
    """Every implementation of :class:`profiler.worker.cuda_driver.CudaDriver`."""

    @pytest.fixture
    def driver(self) -> CudaDriver:
        raise NotImplementedError

    def took_ns(self, driver: CudaDriver, work: Callable[[], None], times: int) -> int:
        driver.synchronize()
        start = driver.mark()
        for _ in range(times):
            work()
        end = driver.mark()
        driver.synchronize()
        return driver.elapsed_ns(start, end)

    def test_more_copies_take_longer(self, driver: CudaDriver) -> None:
        source, target = driver.allocate(32 * MIB), driver.allocate(32 * MIB)
        few, many = (self.took_ns(driver, lambda: driver.copy(target, source, 32 * MIB), n) for n in (2, 40))
        assert 0 < few < many

    def test_more_rounds_of_a_kernel_take_longer(self, driver: CudaDriver) -> None:
        chain, out = driver.kernel(CHAIN, "chain"), driver.allocate(4 * 1024 * 256)
        few, many = (self.took_ns(driver, partial(chain, 1024, 256, out, n), 3) for n in (100, 10_000))
        assert 0 < few < many

    def test_reference_workloads_take_time(self, driver: CudaDriver) -> None:
        for made in (streaming(driver), multiplying(driver)):
            made()
            few, many = (self.took_ns(driver, made, n) for n in (5, 50))
            assert 0 < few < many

    def test_what_is_allocated_is_not_free(self, driver: CudaDriver) -> None:
        before, total = driver.memory_bytes()
        assert driver.allocate(64 * MIB) != driver.allocate(64 * MIB)
        after, still = driver.memory_bytes()
        assert total == still
        assert 0 < after <= before - 128 * MIB < total

    def test_there_is_no_more_memory_than_there_is(self, driver: CudaDriver) -> None:
        with pytest.raises(WorkerError, match="out of GPU memory"):
            driver.allocate(2 * driver.memory_bytes()[1])

    def test_a_kernel_that_is_not_there_is_an_error(self, driver: CudaDriver) -> None:
        with pytest.raises(WorkerError) as caught:
            driver.kernel(CHAIN, "nothing")
        assert "\n" not in str(caught.value)

    def test_a_stream_is_told(self, driver: CudaDriver) -> None:
        assert driver.stream > 0

    def test_what_it_tells_is_possible(self, driver: CudaDriver) -> None:
        state = driver.state()
        assert state.name != ""
        assert state.sm_mhz is None or 0 < state.sm_mhz < 10_000
        assert state.sm_max_mhz is None or state.sm_mhz is None or state.sm_mhz <= state.sm_max_mhz
        assert state.celsius is None or 0 < state.celsius < 120
        assert state.power_mw is None or 0 < state.power_mw < 2_000_000
        assert state.throttle_reasons is None or state.throttle_reasons >= 0
