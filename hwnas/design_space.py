"""Accelerators to choose from: a simulated device and the values some of its engine's parameters may take."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwnas.errors import AcceleratorError
from hwnas.space import Choice
from profiler.devices import Devices
from profiler.errors import SimulationError
from profiler.simulators.device import SimulatedDevice

Value = bool | int | float | str
PREFIX = "accelerator."
"""Stands before a parameter's name where it is a choice beside those of a network."""

MOST_VALUES = 1000
"""Of one parameter."""

Objective = Literal["loss", "latency_ms", "energy_mj", "peak_memory_mib", "area_mm2"]
OBJECTIVES: tuple[Objective, ...] = ("loss", "latency_ms", "energy_mj")
"""What pairs are judged by unless other objectives are named; all are to be small."""


class _Range(BaseModel):
    """``{from: 16, to: 64, step: 16}`` or ``{from: 16, to: 4096, times: 2}``; both ends are in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: float = Field(alias="from", allow_inf_nan=False)
    last: float = Field(alias="to", allow_inf_nan=False)
    step: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    times: float | None = Field(default=None, gt=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_way_up(self) -> _Range:
        if (self.step is None) == (self.times is None):
            raise ValueError("a range goes up by step or by times; give one of them")
        if self.first > self.last or (self.times is not None and self.first <= 0):
            raise ValueError(f"a range from {self.first:g} to {self.last:g} goes nowhere")
        return self

    @property
    def values(self) -> tuple[Value, ...]:
        """Whole numbers where they are."""
        found: list[float] = []
        value = self.first
        while value <= self.last * (1 + 1e-9) and len(found) <= MOST_VALUES:
            found.append(value)
            value = value * self.times if self.times is not None else self.first + len(found) * (self.step or 0.0)
        return tuple(int(value) if value.is_integer() else value for value in found)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str
    parameters: Mapping[str, Annotated[tuple[Value, ...], Field(min_length=1)] | _Range] = Field(min_length=1)
    area_mm2: float | None = Field(default=None, gt=0)
    objectives: tuple[Objective, ...] = Field(default=OBJECTIVES, min_length=2)


@dataclass(frozen=True, slots=True)
class Design:
    """One accelerator of a design space: the device, what was chosen, and its area where the engine knows it."""

    device: SimulatedDevice
    chosen: Mapping[str, Value]
    area_mm2: float | None

    @property
    def name(self) -> str:
        """Device and configuration: what it is called in files."""
        return self.device.name


@dataclass(frozen=True)
class DesignSpace:
    """``values`` by parameter, in place of those of ``device``; ``area_mm2`` is the most a design may take.

    ``objectives`` are what pairs of a network and a design are judged by.
    """

    device: SimulatedDevice
    values: Mapping[str, tuple[Value, ...]]
    area_mm2: float | None = None
    objectives: tuple[Objective, ...] = OBJECTIVES

    @property
    def choices(self) -> tuple[Choice, ...]:
        """A choice per parameter; its values are positions in ``values``."""
        return tuple(Choice(PREFIX + name, tuple(range(len(values)))) for name, values in self.values.items())

    @property
    def size(self) -> int:
        """Number of designs, impossible ones too."""
        return math.prod(len(values) for values in self.values.values())

    @cached_property
    def fingerprint(self) -> str:
        """Digest of everything that makes this design space this one."""
        fixed = self.device.model_dump(mode="json", exclude={"name", "description"})
        content: list[object] = [fixed, {name: list(values) for name, values in self.values.items()}, self.area_mm2]
        content.append(list(self.objectives))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def design(self, positions: Sequence[int]) -> Design:
        """The design with the values at these positions.

        Raises :class:`profiler.errors.SimulationError` if it cannot be, or takes more than ``area_mm2``.
        """
        chosen = {
            name: values[int(position)] for (name, values), position in zip(self.values.items(), positions, strict=True)
        }
        device = self.device.varied(chosen)
        area_mm2: float | None = getattr(device.engine_parameters, "area_mm2", None)
        if self.area_mm2 is not None and area_mm2 is not None and area_mm2 > self.area_mm2:
            raise SimulationError(f"{self.device.engine}: {area_mm2:.3g} mm2 are more than {self.area_mm2:g}")
        named = device.model_copy(update={"name": f"{self.device.name}-{device.configuration[:8]}"})
        return Design(named, chosen, area_mm2)


def load_designs(path: Path, devices: Devices) -> DesignSpace:
    """Read a design space: ``device``, ``parameters`` (lists or ranges of values), ``area_mm2``, ``objectives``.

    Raises :class:`AcceleratorError`, one line with the file and the place, for anything wrong in it.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as exc:
        raise AcceleratorError(f"{path} is not a text file in UTF-8") from exc
    except (yaml.YAMLError, ValueError) as exc:  # a date that cannot be is a ValueError
        raise AcceleratorError(f"{path} is not YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(document, dict):
        raise AcceleratorError(f"{path}: a mapping with device and parameters is expected")
    try:
        wanted = _Document(**document)
    except (ValidationError, TypeError) as exc:
        raise AcceleratorError(f"{path}: {_why(exc)}") from exc
    device = devices.get(wanted.device)
    if not isinstance(device, SimulatedDevice):
        raise AcceleratorError(f"{path}: {device.name!r} is {device.kind}: only a simulated device has designs")
    values = {name: v.values if isinstance(v, _Range) else v for name, v in wanted.parameters.items()}
    known = type(device.engine_parameters).model_fields
    for name, given in values.items():
        if name not in known:
            raise AcceleratorError(f"{path}: {device.engine}: unknown parameter {name!r}; known: {', '.join(known)}")
        if len(given) > MOST_VALUES or len(set(map(repr, given))) < len(given):
            raise AcceleratorError(f"{path}: parameters.{name}: repeated values, or more than {MOST_VALUES}")
    if len(set(wanted.objectives)) < len(wanted.objectives):
        raise AcceleratorError(f"{path}: objectives: one is named twice")
    asks_area = wanted.area_mm2 is not None or "area_mm2" in wanted.objectives
    if asks_area and not hasattr(device.engine_parameters, "area_mm2"):
        raise AcceleratorError(f"{path}: area_mm2: the engine {device.engine} knows no area; leave it out")
    return DesignSpace(device, values, wanted.area_mm2, wanted.objectives)


def _why(exc: ValidationError | TypeError) -> str:
    if isinstance(exc, TypeError):
        return "the names of its fields must be words"
    error = min(exc.errors(), key=lambda e: e["type"] != "value_error")
    where = ".".join(str(part) for part in error["loc"] if not str(part).startswith(("tuple", "_Range")))
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
