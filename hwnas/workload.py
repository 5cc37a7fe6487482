"""What is asked of a model: how many sentences, beams and tokens at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from hwnas.errors import WorkloadError


@dataclass(frozen=True, slots=True)
class Workload:
    """One request, as every operator, journal, table, prediction and manifest understands it.

    ``source_tokens`` and ``target_tokens`` count the end symbol; the decoder takes
    ``target_tokens`` steps over ``batch * beam`` rows. ``vocabulary`` is the number of output
    symbols. ``cache`` is how many past tokens the key-value cache holds when a single decoder
    step is timed as an operator: by default the mean over the loop, ``(target_tokens - 1) // 2``
    (a step's cost is affine in it); whole models are always timed over the real, growing loop.

    Raises :class:`WorkloadError` for sizes that cannot be.
    """

    batch: int = 1
    beam: int = 1
    source_tokens: int = 30
    target_tokens: int = 30
    vocabulary: int = 32768
    cache: int = -1

    def __post_init__(self) -> None:
        if self.cache == -1:
            object.__setattr__(self, "cache", (self.target_tokens - 1) // 2)
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "cache" else 1
            if type(value) is not int or value < least:
                raise WorkloadError(f"workload: {field.name} is {value!r}; it must be a whole number >= {least}")
        if self.cache >= self.target_tokens:
            raise WorkloadError(
                f"workload: cache is {self.cache}, but {self.target_tokens} target tokens"
                f" leave at most {self.target_tokens - 1} past ones"
            )

    def as_dict(self) -> dict[str, int]:
        """The fields by name, as they stand in journals and tables."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, int]) -> Workload:
        """The inverse of :meth:`as_dict`; raises :class:`WorkloadError` for unknown names."""
        unknown = sorted(set(document) - {field.name for field in fields(cls)})
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise WorkloadError(f"workload: unknown {', '.join(unknown)}; known: {known}")
        return cls(**document)
