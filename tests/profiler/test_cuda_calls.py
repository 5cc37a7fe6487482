"""How NVIDIA's libraries are called, on made-up ones with the declarations of NVIDIA's headers."""

import shutil
import subprocess
from pathlib import Path

import pytest
from contracts.cuda_driver import CudaDriverContract

from profiler.worker.cuda_driver import CudaDriver, GpuState, NvidiaDriver
from profiler.worker.protocol import WorkerError

SOURCE = Path(__file__).with_name("made_up_cuda.c")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make it with")
    library = tmp_path_factory.mktemp("cuda") / "made_up.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, SOURCE], check=True)
    return library.read_bytes()


@pytest.fixture
def library(compiled: bytes, tmp_path: Path) -> str:
    """A copy of its own: what is loaded once has one state."""
    copy = tmp_path / "libcuda.so"
    copy.write_bytes(compiled)
    return str(copy)


@pytest.fixture
def driver(library: str) -> CudaDriver:
    return NvidiaDriver(library, library)


class TestNvidiaDriver(CudaDriverContract):
    @pytest.fixture
    def driver(self, library: str) -> CudaDriver:
        return NvidiaDriver(library, library)


def test_all_it_tells(driver: CudaDriver) -> None:
    assert driver.state() == GpuState("made up", "580.1", 1500, 1980, 120_000, 41, 0x100000004)


def test_without_the_management_library_nothing_is_known(library: str) -> None:
    driver = NvidiaDriver(library, "libnothing.so.0")
    assert driver.state() == GpuState()
    assert driver.memory_bytes() == (1 << 30, 1 << 30)


def test_events_that_have_not_happened_are_an_error(driver: CudaDriver) -> None:
    pointer = driver.allocate(1 << 20)
    start = driver.mark()
    driver.copy(pointer, pointer + (1 << 19), 1 << 19)
    with pytest.raises(WorkerError, match=r"cuEventElapsedTime: an unknown error \(600\)"):
        driver.elapsed_ns(start, driver.mark())


def test_what_it_refuses_is_told_in_its_words(driver: CudaDriver) -> None:
    with pytest.raises(WorkerError, match=r"the NVIDIA driver says to cuMemAlloc_v2: invalid argument \(1\)"):
        driver.allocate(0)
    with pytest.raises(WorkerError, match=r"cuModuleGetFunction: named symbol not found \(500\)"):
        driver.kernel(".entry chain(.param .u64 out, .param .u32 rounds)", "nothing")


def test_time_between_events_is_the_gpus(driver: CudaDriver) -> None:
    target, source = driver.allocate(50_000_000), driver.allocate(50_000_000)
    start = driver.mark()
    driver.copy(target, source, 50_000_000)
    end = driver.mark()
    driver.synchronize()
    assert driver.elapsed_ns(start, end) == pytest.approx(500_000, rel=1e-6)
