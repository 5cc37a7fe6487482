"""A GPU that programs are timed on: warm before, its own clock beside, throttling and memory after. Never run yet."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from .cuda_driver import CudaDriver
from .protocol import Request, WorkerError

SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80
"""NVML's reasons that slow work down (``nvmlClocksThrottleReason*``): the power cap, the hardware's own slowdown, heat
by software and by hardware, the power brake. Idling and clocks that somebody set are none."""

MIB = 1 << 20
_STATIONARY = 0.01
_LOOK_S, _PATIENCE_S = 0.02, 2.0
_MEMORY_WORDS = ("out of memory", "out of gpu memory", "failed to allocate", "memory allocation", "alloc_failed")


class Gpu:
    """Watches a GPU as :class:`worker.board.Watch` does a board, and times on its own clock beside."""

    def __init__(self, driver: CudaDriver, now: Callable[[], float] = time.monotonic) -> None:
        self.driver, self._now = driver, now
        self._throttles = self._event_ns = self._sm_khz = self._loaded_bytes = 0
        self._reasons = 0
        self.references: dict[str, Callable[[], Callable[[], None]]] = {
            "compute": lambda: multiplying(driver),
            "memory": lambda: streaming(driver),
        }

    def warm(self, runs: list[Callable[[], object]]) -> None:
        """Run it until its clock stands still: two looks, 20 ms of work apart, that differ by 1 %; 2 s at most."""
        before: int | None = None
        end_s = self._now() + _PATIENCE_S
        while self._now() < end_s:
            look_s = self._now() + _LOOK_S
            while self._now() < look_s:
                for run in runs:
                    run()
            clock = self.driver.state().sm_mhz
            if clock is None or (before is not None and abs(clock - before) <= _STATIONARY * before):
                return
            before = clock

    def start(self) -> int:
        """Nothing of before runs into what comes; the event it starts at."""
        self.driver.synchronize()
        return self.driver.mark()

    def stop(self) -> int:
        """Wait until all is done; the event it ended at."""
        event = self.driver.mark()
        self.driver.synchronize()
        return event

    def took(self, start: int, end: int) -> None:
        """Count the time between two events."""
        self._event_ns += self.driver.elapsed_ns(start, end)

    def timed(self) -> None:
        """To be called at once after a sample: the clock is still that of the load, and so is what slows it down."""
        state = self.driver.state()
        self._sm_khz += 1000 * (state.sm_mhz or 0)
        self._reasons |= state.throttle_reasons or 0

    def look(self) -> Request:
        """Numbers that only grow.

        ``throttles`` does if it is slowed down now or was after a sample since the last look; ``gpu_event_ns`` by
        what samples took on the GPU's clock, ``gpu_sm_khz`` by its clock after the first and the last sample of
        whatever is timed, ``gpu_loaded_bytes`` by the memory that programs took when they were loaded.
        """
        told: Request = {"gpu_event_ns": self._event_ns, "gpu_loaded_bytes": self._loaded_bytes}
        state = self.driver.state()
        if state.sm_mhz is not None:
            told["gpu_sm_khz"] = self._sm_khz
        if state.throttle_reasons is not None:
            self._throttles += bool((self._reasons | state.throttle_reasons) & SLOWED)
            self._reasons, told["throttles"] = 0, self._throttles
        return told

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Count the memory that is taken within; an error for want of it says how much there is."""
        free_before, total = self.driver.memory_bytes()
        try:
            yield
        except Exception as exc:
            if not any(words in str(exc).lower() for words in _MEMORY_WORDS):
                raise
            raise WorkerError(
                f"out of GPU memory: {free_before // MIB} of {total // MIB} MiB were free before it was loaded;"
                f" stop what else uses it, or give a smaller --memory-limit-mib ({type(exc).__name__})"
            ) from exc
        self._loaded_bytes += max(0, free_before - self.driver.memory_bytes()[0])

    def facts(self) -> Request:
        """What the GPU is and does right now, every name beginning with ``gpu_``."""
        free, total = self.driver.memory_bytes()
        told = {f"gpu_{name}": value for name, value in asdict(self.driver.state()).items()}
        return {**told, "gpu_memory_free_bytes": free, "gpu_memory_total_bytes": total}


def streaming(driver: CudaDriver) -> Callable[[], None]:
    """Reference workload bound by memory: copies 64 MiB, more than the caches hold, each time from the next of four.

    An eighth of the memory that is free is all it takes.
    """
    piece = min(64 * MIB, driver.memory_bytes()[0] // 40)
    target, *sources = (driver.allocate(piece) for _ in range(5))
    turns = itertools.cycle(sources)

    def call() -> None:
        driver.copy(target, next(turns), piece)
        driver.synchronize()

    return call


def multiplying(driver: CudaDriver) -> Callable[[], None]:
    """Reference workload bound by compute: chains of fused multiply-adds in registers."""
    blocks, threads, rounds = 1024, 256, 1024
    chain, out = driver.kernel(CHAIN, "chain"), driver.allocate(4 * blocks * threads)

    def call() -> None:
        chain(blocks, threads, out, rounds)
        driver.synchronize()

    return call


_FMA = "    fma.rn.f32 %f1, %f1, %f2, %f3;\n"

CHAIN = f"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry chain(.param .u64 out, .param .u32 rounds)
{{
    .reg .pred %more;
    .reg .b32 %r<6>;
    .reg .b64 %a<4>;
    .reg .f32 %f<4>;
    ld.param.u64 %a1, [out];
    ld.param.u32 %r1, [rounds];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.u32 %r5, %r2, %r3, %r4;
    cvt.rn.f32.u32 %f1, %r5;
    mov.f32 %f2, 0f3F7FFFFE;
    mov.f32 %f3, 0f33800000;
again:
{8 * _FMA}    sub.u32 %r1, %r1, 1;
    setp.ne.u32 %more, %r1, 0;
    @%more bra again;
    cvta.to.global.u64 %a2, %a1;
    mul.wide.u32 %a3, %r5, 4;
    add.u64 %a2, %a2, %a3;
    st.global.f32 [%a2], %f1;
    ret;
}}
"""
"""Each of ``blocks`` times ``threads`` does ``8 * rounds`` of them, and keeps its result so that none is left out."""
