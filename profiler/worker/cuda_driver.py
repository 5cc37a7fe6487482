"""What this asks of NVIDIA's driver: waiting, events, memory, small kernels, and the state of the GPU. Never run yet.

By ``ctypes`` alone: libcuda in the first GPU's primary context, which ONNX Runtime, torch and TVM share, and NVML.
Functions, their arguments and the values of constants are those of NVIDIA's CUDA Driver API and NVML API references.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Protocol

from .protocol import WorkerError

NAME_BYTES = 96
_CLOCK_SM, _TEMPERATURE_GPU = 1, 0
_BLOCKING_STREAM, _EVENT_DEFAULT = 0, 0
_OUT_OF_MEMORY = 2


@dataclass(frozen=True, slots=True)
class GpuState:
    """A GPU right now, by NVML; None for what it does not tell. ``throttle_reasons`` as NVML's bits."""

    name: str | None = None
    driver: str | None = None
    sm_mhz: int | None = None
    sm_max_mhz: int | None = None
    power_mw: int | None = None
    celsius: int | None = None
    throttle_reasons: int | None = None


class Kernel(Protocol):
    """A kernel of one pointer and one number."""

    def __call__(self, blocks: int, threads: int, pointer: int, number: int) -> None:
        """Launch it on the default stream."""


class CudaDriver(Protocol):
    """The first GPU. Raises :class:`WorkerError` for whatever the driver refuses."""

    @property
    def stream(self) -> int:
        """A stream that the default one waits for, and that waits for it, as a handle."""
        ...

    def synchronize(self) -> None:
        """Wait until the GPU has done all it was told to, on any stream."""
        ...

    def mark(self) -> int:
        """An event behind all that was told so far, on the GPU's own clock."""
        ...

    def elapsed_ns(self, start: int, end: int) -> int:
        """Time between two events that have happened; they are gone then."""
        ...

    def memory_bytes(self) -> tuple[int, int]:
        """What is free, and all there is."""
        ...

    def allocate(self, size_bytes: int) -> int:
        """Memory of the GPU, as a pointer; kept until the process ends."""
        ...

    def copy(self, target: int, source: int, size_bytes: int) -> None:
        """Start copying from one place of its memory to another."""
        ...

    def kernel(self, assembly: str, name: str) -> Kernel:
        """A kernel of a program in PTX."""
        ...

    def state(self) -> GpuState:
        """Clock, power, heat, and why it is slowed down."""
        ...


class NvidiaDriver:
    """Implements :class:`CudaDriver`; raises :class:`WorkerError` where there is no driver or no GPU."""

    def __init__(self, library: str = "libcuda.so.1", management: str = "libnvidia-ml.so.1") -> None:
        try:
            self._cuda = ctypes.CDLL(library)
        except OSError as exc:
            raise WorkerError(f"no NVIDIA driver is here ({exc}); use provider: cpu") from exc
        device, context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(stream), _BLOCKING_STREAM)
        bus = ctypes.create_string_buffer(32)
        self._call("cuDeviceGetPCIBusId", bus, 32, device)
        self._stream = stream.value or 0
        self._nvml = Nvml.opened(management, bus.value)

    @property
    def stream(self) -> int:
        """See :class:`CudaDriver`."""
        return self._stream

    def synchronize(self) -> None:
        """See :class:`CudaDriver`."""
        self._call("cuCtxSynchronize")

    def mark(self) -> int:
        """See :class:`CudaDriver`."""
        event = ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(event), _EVENT_DEFAULT)
        self._call("cuEventRecord", event, None)
        return event.value or 0

    def elapsed_ns(self, start: int, end: int) -> int:
        """See :class:`CudaDriver`."""
        passed_ms = ctypes.c_float()
        first, last = ctypes.c_void_p(start), ctypes.c_void_p(end)
        self._call("cuEventElapsedTime", ctypes.byref(passed_ms), first, last)
        self._call("cuEventDestroy_v2", first)
        self._call("cuEventDestroy_v2", last)
        return round(passed_ms.value * 1e6)

    def memory_bytes(self) -> tuple[int, int]:
        """See :class:`CudaDriver`."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def allocate(self, size_bytes: int) -> int:
        """See :class:`CudaDriver`."""
        pointer = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size_bytes))
        self._call("cuMemsetD8_v2", pointer, ctypes.c_ubyte(0), ctypes.c_size_t(size_bytes))
        return pointer.value

    def copy(self, target: int, source: int, size_bytes: int) -> None:
        """See :class:`CudaDriver`."""
        places = ctypes.c_uint64(target), ctypes.c_uint64(source)
        self._call("cuMemcpyDtoDAsync_v2", *places, ctypes.c_size_t(size_bytes), None)

    def kernel(self, assembly: str, name: str) -> Kernel:
        """See :class:`CudaDriver`."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(assembly.encode()))
        self._call("cuModuleGetFunction", ctypes.byref(function), module, ctypes.c_char_p(name.encode()))

        def launch(blocks: int, threads: int, pointer: int, number: int) -> None:
            values = ctypes.c_uint64(pointer), ctypes.c_uint32(number)
            arguments = (ctypes.c_void_p * 2)(*(ctypes.addressof(value) for value in values))
            self._call("cuLaunchKernel", function, blocks, 1, 1, threads, 1, 1, 0, None, arguments, None)

        return launch

    def state(self) -> GpuState:
        """See :class:`CudaDriver`; nothing is known without NVML."""
        return GpuState() if self._nvml is None else self._nvml.state()

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._cuda, name)(*arguments)
        if status == 0:
            return
        told = ctypes.c_char_p()
        self._cuda.cuGetErrorString(status, ctypes.byref(told))
        why = "out of GPU memory" if status == _OUT_OF_MEMORY else (told.value or b"an unknown error").decode()
        raise WorkerError(f"the NVIDIA driver says to {name}: {why} ({status})")


class Nvml:
    """The management library: it only tells."""

    def __init__(self, library: ctypes.CDLL, device: ctypes.c_void_p) -> None:
        self._nvml, self._device = library, device
        self._fixed = GpuState(
            name=self._text("nvmlDeviceGetName", device),
            driver=self._text("nvmlSystemGetDriverVersion"),
            sm_max_mhz=self._number("nvmlDeviceGetMaxClockInfo", _CLOCK_SM),
        )

    @classmethod
    def opened(cls, name: str, bus: bytes) -> Nvml | None:
        """Of the GPU on that PCI bus; None if the library is not there or refuses."""
        try:
            library = ctypes.CDLL(name)
        except OSError:
            return None
        device = ctypes.c_void_p()
        if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(device)):
            return None
        return cls(library, device)

    def state(self) -> GpuState:
        """The GPU right now."""
        reasons = ctypes.c_ulonglong()
        known = self._told("nvmlDeviceGetCurrentClocksThrottleReasons", self._device, ctypes.byref(reasons))
        return GpuState(
            self._fixed.name,
            self._fixed.driver,
            self._number("nvmlDeviceGetClockInfo", _CLOCK_SM),
            self._fixed.sm_max_mhz,
            self._number("nvmlDeviceGetPowerUsage"),
            self._number("nvmlDeviceGetTemperature", _TEMPERATURE_GPU),
            reasons.value if known else None,
        )

    def _number(self, name: str, *which: int) -> int | None:
        value = ctypes.c_uint()
        return value.value if self._told(name, self._device, *which, ctypes.byref(value)) else None

    def _text(self, name: str, *device: ctypes.c_void_p) -> str | None:
        text = ctypes.create_string_buffer(NAME_BYTES)
        return text.value.decode(errors="replace") if self._told(name, *device, text, NAME_BYTES) else None

    def _told(self, name: str, *arguments: Any) -> bool:
        """Whether a function is there and did what it should."""
        function = getattr(self._nvml, name, None)
        return function is not None and function(*arguments) == 0


def open_driver() -> CudaDriver:
    """The driver of this machine; raises :class:`WorkerError` if there is none."""
    return NvidiaDriver()
