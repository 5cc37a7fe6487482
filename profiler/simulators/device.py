"""A simulated device of ``devices.yaml``: an engine, its parameters, and the host for what it cannot map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from profiler.errors import SimulationError
from profiler.simulators.host import HostParameters
from profiler.simulators.registry import ENGINES, configuration_of, parameters_model
from profiler.target import Target


class SimulatedDevice(BaseModel):
    """Nothing runs there: it gives estimates, never measurements."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Literal["simulated"]
    description: str = ""
    engine: str
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    host: HostParameters | None = None

    @model_validator(mode="after")
    def _possible(self) -> SimulatedDevice:
        if self.engine not in ENGINES:
            raise ValueError(f"engine {self.engine!r} is unknown; known: {', '.join(ENGINES)}")
        try:
            _ = self.engine_parameters
        except SimulationError as exc:
            raise ValueError(str(exc)) from exc
        return self

    @property
    def engine_parameters(self) -> BaseModel:
        """The parameters as the engine's own model; raises :class:`SimulationError` for impossible ones."""
        return checked_parameters(self.engine, self.parameters)

    def varied(self, fields: Mapping[str, Any]) -> SimulatedDevice:
        """The device with ``fields`` in place of its own parameters; another one than was measured is uncalibrated.

        Raises :class:`SimulationError` if it cannot be.
        """
        own = self.engine_parameters
        merged = {**self.parameters, **fields}
        other = checked_parameters(self.engine, merged)
        if other != own and "calibration" in merged:
            merged["calibration"] = None
        return self.model_copy(update={"parameters": merged})

    @property
    def configuration(self) -> str:
        """sha256 of everything an estimate follows from beside the artifact and the engine's version."""
        return configuration_of(self.engine, self.engine_parameters, self.host)

    @property
    def runtime(self) -> str:
        """The engine, which stands where other devices have a runtime."""
        return self.engine

    @property
    def threads(self) -> int:
        """One: an engine knows no threads."""
        return 1

    @property
    def effective_clock(self) -> Literal["estimated"]:
        """No clock at all."""
        return "estimated"

    @property
    def note(self) -> str:
        """What a user should know before trusting it."""
        return "simulated: every number is an estimate"

    def target(self, version: str) -> Target:
        """The target of its tables: engine, version and configuration; another configuration is another target."""
        return Target(self.name, f"{self.engine}-{version}+{self.configuration[:8]}", 1, "estimated")


def checked_parameters(engine: str, fields: Mapping[str, Any]) -> BaseModel:
    """``fields`` as the engine's parameters. Raises :class:`SimulationError`, one line naming the field."""
    model = parameters_model(engine)
    unknown = [str(field) for field in fields if field not in model.model_fields]
    if unknown:
        raise SimulationError(f"{engine}: unknown parameter {unknown[0]!r}; known: {', '.join(model.model_fields)}")
    try:
        return model(**fields)
    except ValidationError as exc:
        error = exc.errors()[0]
        where = ".".join(str(part) for part in error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        got = f", not {error['input']!r}" if where else ""
        raise SimulationError(f"{engine}{f'.{where}' if where else ''}: {message}{got}") from exc
