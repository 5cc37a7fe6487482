"""Are an artifact's outputs the ones PyTorch gave? Nothing is timed or deployed before this is yes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from exporters import Artifact
from profiler.errors import ParityError
from profiler.session import Tensors


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a device's outputs lie from the reference, over all outputs of the artifact.

    ``snr_db`` is the ratio of the reference's energy to the difference's in decibel, infinite
    when they are equal.
    """

    max_abs_error: float
    reference_max: float
    tolerance: float
    snr_db: float

    @property
    def passed(self) -> bool:
        """Whether the largest difference is within the tolerance (NaN is not)."""
        return self.max_abs_error <= self.tolerance


def reference_tensors(artifact: Artifact) -> tuple[Tensors, Tensors]:
    """The seeded inputs and PyTorch's outputs, by name; raises :class:`ParityError` if unreadable."""
    try:
        with np.load(artifact.reference, allow_pickle=False) as stored:
            tensors = {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError) as exc:
        raise ParityError(f"{artifact.reference} is not readable ({exc}); export {artifact.path.name} again") from exc
    sides: dict[str, dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]] = {
        "input": {},
        "output": {},
    }
    for key, value in tensors.items():
        side, _, name = key.partition("/")
        sides.setdefault(side, {})[name] = value
    return sides["input"], sides["output"]


def compare(reference: Tensors, outputs: Tensors, tolerance: float) -> Parity:
    """Largest difference and signal-to-noise ratio; raises :class:`ParityError` for other names or shapes."""
    if not reference or set(outputs) != set(reference):
        raise ParityError(f"outputs are {sorted(outputs)}, the reference has {sorted(reference)}")
    worst = largest = signal = noise = 0.0
    for name, expected in reference.items():
        given = outputs[name]
        if given.shape != expected.shape:
            raise ParityError(f"output {name!r} has shape {given.shape}, the reference {expected.shape}")
        if expected.size == 0:
            continue
        expected64, given64 = expected.astype(np.float64), given.astype(np.float64)
        with np.errstate(invalid="ignore"):
            difference = np.where(expected64 == given64, 0.0, np.abs(given64 - expected64))
        error = float(difference.max())
        worst = error if math.isnan(error) else max(worst, error)
        if math.isnan(worst):
            return Parity(math.inf, float(np.abs(expected64).max()), tolerance, -math.inf)
        finite = expected64[np.isfinite(expected64)]
        largest = max(largest, float(np.abs(finite).max(initial=0.0)))
        signal += float(np.square(finite).sum())
        noise += float(np.square(difference).sum())
    snr_db = math.inf if noise == 0 else 10 * math.log10(signal / noise) if signal > 0 else -math.inf
    return Parity(worst, largest, tolerance, snr_db)


def check_parity(artifact: Artifact, outputs: Tensors, where: str) -> Parity:
    """Compare a device's outputs on the reference inputs with the reference outputs.

    Raises :class:`ParityError`, naming the artifact and ``where`` it ran, if they differ by more
    than the artifact's tolerance.
    """
    _, reference = reference_tensors(artifact)
    try:
        parity = compare(reference, outputs, artifact.tolerance)
    except ParityError as exc:
        raise ParityError(f"{artifact.path.name} on {where}: {exc}; export it again") from None
    if not parity.passed:
        raise ParityError(
            f"{artifact.path.name} on {where}: outputs differ from PyTorch's by {parity.max_abs_error:.3g},"
            f" {artifact.tolerance:.3g} is allowed; it is not used"
        )
    return parity
