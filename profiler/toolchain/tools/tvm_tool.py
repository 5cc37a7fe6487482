"""Runs in the toolchain tvm: an ONNX graph to one shared library, by the schedules in the files beside this one."""

from __future__ import annotations

import os
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
os.environ.setdefault("TVM_NUM_THREADS", "1")  # of what is tuned: it counts the time of one thread

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import tvm  # noqa: E402
from native_output import printing_to  # noqa: E402
from tvm import tirx  # noqa: E402
from tvm.relax.frontend.onnx import from_onnx  # noqa: E402
from tvm_cuda import compiled  # noqa: E402
from tvm_isa import tiles  # noqa: E402
from tvm_linking import link  # noqa: E402
from tvm_lowering import lowered  # noqa: E402
from tvm_schedules import scheduled  # noqa: E402
from tvm_targets import isa_of, name_of, require_halves, target_of  # noqa: E402
from tvm_tuning import Records  # noqa: E402
from tvm_tuning import tune as measured  # noqa: E402


def check() -> dict[str, object]:
    """Versions; proves that a graph can be compiled, linked, loaded and run, and gives what it should."""
    with tempfile.TemporaryDirectory() as folder:
        graph, library, log = (str(Path(folder) / name) for name in ("m.onnx", "m.so", "log"))
        weight = np.arange(15, dtype=np.float32).reshape(5, 3)
        onnx.save(_product(weight), graph)
        compile_graph(graph, library, log)
        machine = tvm.runtime.vm.VirtualMachine(tvm.runtime.load_module(library), tvm.cpu())
        x = np.linspace(-1, 1, 10, dtype=np.float32).reshape(2, 5)
        if not np.allclose(machine["main"](tvm.runtime.tensor(x)).numpy(), x @ weight, atol=1e-5):
            raise ValueError("a compiled product is not the product")
    packages = ("apache-tvm", "apache-tvm-ffi", "onnx", "numpy")
    return {**{package: metadata.version(package) for package in packages}, "target": describe()["name"]}


def describe(target: str = "native", records: str = "") -> dict[str, object]:
    """What a target is called: everything of it that decides the code; and what was tuned for it."""
    found = target_of(target)
    return {"name": name_of(found), "tuned": _records(records, found).digest()}


def compile_graph(
    graph: str, library: str, log: str, precision: str = "fp32", target: str = "native", records: str = ""
) -> dict[str, object]:
    """Compile the ONNX file ``graph`` for ``target`` to the shared object ``library``.

    ``target``: ``native``, a tag of TVM's (``raspberry-pi/4b-aarch64``), a target in JSON or ``cuda``; ``records``: the
    file that :func:`tune` writes; ``precision``: see :func:`tvm_lowering.lowered`. What the compiler prints goes to
    ``log``, which is left only if it fails. Returns ``kernels``, the functions there are, and ``narrowed_bytes``, by
    which weights are smaller than in the graph.
    """
    with printing_to(log):
        found = target_of(target)
        if str(found.kind) == "cuda":
            (built, kernels), narrowed = compiled(_read(graph), found, precision), 0
        else:
            built, kernels, narrowed = _for_processor(_read(graph), found, precision, _records(records, found))
        link(built, Path(library), found)
    Path(log).unlink()
    return {"kernels": kernels, "narrowed_bytes": narrowed}


def _for_processor(mod: Any, found: Any, precision: str, records: Records) -> tuple[Any, list[str], int]:
    isa = isa_of(found)
    if precision == "fp16":
        require_halves(found)
    with found:
        mod, narrowed = lowered(mod, isa, records.choose(isa), precision)
        mod = scheduled(mod, isa)
        built = tvm.compile(mod, found)
    kernels = sorted(v.name_hint for v, f in mod.functions_items() if isinstance(f, tirx.PrimFunc))
    return built, kernels, narrowed


def problems(graph: str) -> list[list[int]]:
    """The products with weights in an ONNX file, as (rows, columns, inner), each once."""
    isa, found = isa_of(target_of("native")), dict[tuple[int, int, int], None]()

    def remember(rows: int, columns: int, inner: int) -> Any:
        found[rows, columns, inner] = None
        return tiles(rows, columns, isa)[0]

    lowered(_read(graph), isa, remember)
    return [list(problem) for problem in found]


def tune(problem: list[int], records: str) -> dict[str, object]:
    """Try tiles for a product on this machine, and keep the winner in ``records``; what is there is not tried again."""
    found = target_of("native")
    isa, known = isa_of(found), _records(records, found)
    rows, columns, inner = problem
    record = known.all().get("x".join(map(str, problem)))
    own = tiles(rows, columns, isa)[0]
    if record is None or record["rule"] != [own.rows, own.vectors]:
        record = measured((rows, columns, inner), found, isa)
        known.add((rows, columns, inner), record)
    return dict(record)


def _read(graph: str) -> Any:
    return from_onnx(onnx.load(graph), keep_params_in_input=False)


def _records(path: str, target: Any) -> Records:
    return Records(Path(path) if path else None, name_of(target))


def _product(weight: Any) -> Any:
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    rows, columns = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", real, [2, rows])],
        [helper.make_tensor_value_info("y", real, [2, columns])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
