"""Known figures of the engine gpu-roofline; a check takes the module, so that a mutated one can be given."""

import pytest

from profiler.simulators.graph import MatrixProduct, Node, Tensor

GPU = {
    "multiprocessors": 10,
    "matrix_operations_per_s": 1e12,
    "vector_operations_per_s": 1e10,
    "memory_bytes_per_s": 1e9,
    "tile_m": 64,
    "tile_n": 32,
    "launch_us": 3,
}


def tensor(*shape, constant=False):
    return Tensor(f"t{shape}", shape, "float32", constant)


def matmul(batch, m, k, n):
    return Node("p", "MatMul", (tensor(batch, m, k), tensor(batch, k, n)), (tensor(batch, m, n),), {})


def check_roofline(module):
    gpu = module.Parameters(**GPU)
    assert gpu.precision == "fp16" and gpu.compute_efficiency == gpu.memory_efficiency == 1

    def latency(node, **changes):
        return module.open_engine(module.Parameters(**GPU | changes), "c", None).engine.primitive(node)

    # (1000 x 4096) x (4096 x 100): 16 x 4 tiles of 64 x 32 are 7 waves of 10; one takes 2 * 64 * 32 * 4096 / 1e11 s
    tile_s = 2 * 64 * 32 * 4096 / (1e12 / 10)
    product = matmul(1, 1000, 4096, 100)
    fast = {"memory_bytes_per_s": 1e15}
    moved = 2 * (1000 * 4096 + 4096 * 100 + 1000 * 100)
    found = latency(product, **fast)
    assert found.latency_ms == pytest.approx(1e3 * (3e-6 + 7 * tile_s), rel=1e-12)
    assert found.energy_mj is None
    assert found.detail == pytest.approx(
        {
            "operations": 2 * 1000 * 4096 * 100,
            "bytes": moved,
            "launch_ms": 3e-3,
            "compute_ms": 1e3 * 7 * tile_s,
            "memory_ms": 1e3 * moved / 1e15,
        },
        rel=1e-12,
    )
    assert latency(product, **fast, compute_efficiency=0.25).detail["compute_ms"] == pytest.approx(28e3 * tile_s)
    # a part of a tile costs a whole one; ten tiles are a wave, eleven are two; each of a batch has its own
    for (batch, m, n), waves in {
        (1, 1, 1): 1, (1, 640, 32): 1, (1, 641, 32): 2, (1, 64, 321): 2, (10, 64, 32): 1, (11, 1, 1): 2,
    }.items():  # fmt: skip
        assert latency(matmul(batch, m, 4096, n), **fast).detail["compute_ms"] == pytest.approx(1e3 * waves * tile_s)

    # slow memory: bytes of each precision
    for precision, word in {"fp32": 4, "fp16": 2, "int8": 1}.items():
        found = latency(product, precision=precision)
        assert found.latency_ms == pytest.approx(1e3 * (3e-6 + moved / 2 * word / 1e9), rel=1e-12)
    halved = latency(product, memory_efficiency=0.5)
    assert halved.latency_ms == pytest.approx(1e3 * (3e-6 + moved / 0.5e9), rel=1e-12)
    assert halved.detail["memory_ms"] == pytest.approx(1e3 * moved / 0.5e9, rel=1e-12)
    whole = MatrixProduct(1, 1000, 4096, 100, weights=True)
    assert module.product_latency_s(gpu, whole) == pytest.approx(3e-6 + moved / 1e9, rel=1e-12)
    assert module.product_latency_s(gpu, MatrixProduct(3, 1, 2, 5, weights=False)) == pytest.approx(3e-6 + 102e-9)

    # other operators: spread over all, five operations a value of a softmax
    softmax = Node("s", "Softmax", (tensor(100, 200),), (tensor(100, 200),), {})
    found = latency(softmax, **fast, compute_efficiency=0.5)
    assert found.latency_ms == pytest.approx(1e3 * (3e-6 + 100 * 200 * 5 / 1e10), rel=1e-12)
    assert latency(softmax).latency_ms == pytest.approx(1e3 * (3e-6 + 2 * 2 * 100 * 200 / 1e9), rel=1e-12)
    assert latency(Node("l", "Loop", (tensor(3),), (tensor(3),), {})) is None


def check_parameters(module):
    measured = module.Calibration(points=1, held_out_error=0, source="here")
    for calibration, fidelity in ((None, "uncalibrated"), (measured, "calibrated")):
        engine = module.open_engine(module.Parameters(**GPU, calibration=calibration), "c", None)
        assert engine.provenance.as_dict() == {
            "engine": "gpu-roofline", "version": "1", "configuration": "c", "fidelity": fidelity,
        }  # fmt: skip
    assert module.open_engine(module.Parameters(**GPU, takes=("fp32",)), "c", None).engine.precisions == (
        "fp16",
        "fp32",
    )
    least = {
        "multiprocessors": 1, "tile_m": 1, "tile_n": 1, "launch_us": 0.0,
        "matrix_operations_per_s": 0.5, "vector_operations_per_s": 0.5, "memory_bytes_per_s": 0.5,
        "compute_efficiency": 0.5, "memory_efficiency": 1.0,
    }  # fmt: skip
    module.Parameters(**least)
    for wrong in (
        {"multiprocessors": 0}, {"tile_m": 0}, {"tile_n": 0}, {"launch_us": -0.5}, {"compute_efficiency": 0.0},
        {"compute_efficiency": 1.0001}, {"memory_efficiency": 0.0}, {"memory_efficiency": 1.0001},
        {"matrix_operations_per_s": 0.0}, {"vector_operations_per_s": 0.0}, {"memory_bytes_per_s": 0.0},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            module.Parameters(**GPU | wrong)
    tiny = {"compute_efficiency": 1e-3, "memory_efficiency": 1e-3}
    tiny |= dict.fromkeys(("matrix_operations_per_s", "vector_operations_per_s", "memory_bytes_per_s"), 1e-3)
    module.Parameters(**GPU | tiny)
    for wrong in ({"points": 0}, {"held_out_error": -0.005}, {"source": ""}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            module.Calibration(**{"points": 1, "held_out_error": 0.0, "source": "x"} | wrong)
    assert len(module.Calibration(points=1, held_out_error=0.0, source="x").source) == 1


def check_engine(module):
    check_roofline(module)
    check_parameters(module)


CHECKS = {"profiler.simulators.roofline": check_engine}
