"""The engines by name. Each is a file with ``Parameters`` and ``open_engine``, imported only when used."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from profiler.errors import SimulationError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from profiler.simulators.device import SimulatedDevice
    from profiler.simulators.estimate import Estimator
    from profiler.simulators.nodewise import NodeEngine

ENGINES: Mapping[str, str] = {
    "systolic": "profiler.simulators.systolic",
    "eyeriss": "profiler.simulators.eyeriss",
    "shiftadd": "profiler.simulators.shiftadd",
    "ethos-u": "profiler.simulators.ethos_u",
    "gpu-roofline": "profiler.simulators.roofline",
}
"""Engine -> its module. There are ``Parameters``, a frozen pydantic model that refuses what is impossible, and
``open_engine(parameters, configuration, host) -> Estimator``; an engine that has no use for a host refuses one."""

OpenEngine = Callable[["BaseModel", str, "NodeEngine | None"], "Estimator"]


def parameters_model(engine: str) -> type[BaseModel]:
    """The model of an engine's parameters; raises :class:`SimulationError` for an unknown engine."""
    return cast("type[BaseModel]", _module(engine).Parameters)


def open_estimator(device: SimulatedDevice, cache_folder: Path | None = None) -> Estimator:
    """The estimator that ``device`` stands for; its estimates are kept in ``cache_folder`` if there is one."""
    from profiler.simulators.cache import CachedEstimator
    from profiler.simulators.host import HostEngine

    parameters, configuration = device.engine_parameters, device.configuration
    host = None if device.host is None else HostEngine(device.host, configuration)
    open_engine = cast("OpenEngine", _module(device.engine).open_engine)
    estimator = open_engine(parameters, configuration, host)
    return estimator if cache_folder is None else CachedEstimator(estimator, cache_folder)


def configuration_of(engine: str, parameters: BaseModel, host: BaseModel | None = None) -> str:
    """sha256 of an engine's name and of all its parameters, defaults included, and of its host's."""
    document = [engine, parameters.model_dump(mode="json"), None if host is None else host.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@functools.cache
def code_fingerprint() -> str:
    """Digest of this package's source and of the toolchains': an estimate of older code is not used again."""
    toolchain = Path(__file__).parents[1] / "toolchain"
    files = (*Path(__file__).parent.glob("*.py"), *toolchain.glob("tools/*.py"), *toolchain.glob("locks/*.txt"))
    return digest_of(files)


def digest_of(files: Iterable[Path]) -> str:
    """Of their names and bytes; 16 hex digits."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _module(engine: str) -> ModuleType:
    if engine not in ENGINES:
        raise SimulationError(f"engine {engine!r} is unknown; known: {', '.join(ENGINES)}")
    return import_module(ENGINES[engine])
