"""Which bundles are made of a model: formats and precisions, each with the device that runs it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters import ExportError
from hwnas.deploy.bundle import refuse_what_is_no_bundle, replacing
from hwnas.errors import DeployError, HwnasError
from profiler import ProfilerError
from profiler.errors import DeviceBusyError
from profiler.exporting import FORMATS, RUNTIMES, format_of, precisions_of
from profiler.hardware import LocalDevice, SshDevice

ALL, BEST = "all", "best"

MOST_LOST: Mapping[str, float] = {"per": 0.01, "wer": 0.01, "bleu": -0.5}
"""What quality may change by for a precision to count as keeping it: error rates up by one in a hundred, BLEU down by
half a point. Ours; the change itself stands in every manifest."""


@dataclass(frozen=True, slots=True)
class Form:
    """A format in a precision, and the device with the runtime that runs it."""

    format: str
    precision: str
    device: LocalDevice | SshDevice

    @property
    def name(self) -> str:
        """``onnx``, ``tflite-int8``: the folder of one bundle among several."""
        return self.format if self.precision == "fp32" else f"{self.format}-{self.precision}"


def forms(device: LocalDevice | SshDevice, form: str | None, precision: str) -> tuple[Form, ...]:
    """What ``form`` and ``precision`` ask for, either of which may be ``all``; without ``form`` what ``device`` runs.

    A format in a precision it does not have is left out of ``all``. Raises :class:`DeployError` for what there is not.
    """
    if device.provider != "cpu":
        raise DeployError(f"{device.name} is a GPU, and bundles run on processors; name a device with provider: cpu")
    own = format_of(device.runtime)
    if form is None and own not in RUNTIMES:
        raise DeployError(
            f"{device.name} runs {device.runtime}, of which no bundles are made; give --format: {', '.join(RUNTIMES)}"
        )
    if form is not None and form not in (*RUNTIMES, ALL, BEST):
        raise DeployError(f"there is no format {form!r}; known: {', '.join(RUNTIMES)}, {ALL}, {BEST}")
    formats = tuple(RUNTIMES) if form in (ALL, BEST) else (form or own,)
    known = list(dict.fromkeys(each for one in formats for each in precisions_of(one)))
    if precision not in (*known, ALL):
        raise DeployError(
            f"no graph of {'/'.join(formats)} has precision {precision!r}; known: {', '.join(known)}, {ALL}"
        )
    return tuple(
        Form(one, each, device if one == own else device.model_copy(update={"runtime": RUNTIMES[one]}))
        for one in formats
        for each in precisions_of(one)
        if precision in (each, ALL)
    )


def on_runtime(device: LocalDevice | SshDevice, runtime: str) -> LocalDevice | SshDevice:
    """``device`` with another runtime; raises :class:`DeployError` for one there is not, or that has no bundles."""
    if runtime not in FORMATS:
        raise DeployError(f"there is no runtime {runtime!r}; known: {', '.join(RUNTIMES.values())}")
    if format_of(runtime) not in RUNTIMES:
        raise DeployError(f"no bundles are made for {runtime}; give a --format: {', '.join(RUNTIMES)}")
    return device.model_copy(update={"runtime": runtime})


@dataclass(frozen=True, slots=True)
class Made:
    """Manifests by form, in their order, and why others could not be made.

    ``best`` is the fastest that keeps its quality; ``kept_best``: it alone was kept.
    """

    manifests: Mapping[str, dict[str, Any]]
    failed: Mapping[str, str]
    asked: int
    kept_best: bool = False

    @property
    def only(self) -> dict[str, Any] | None:
        """The manifest, if one bundle was asked for."""
        return next(iter(self.manifests.values())) if self.asked == 1 else None

    @property
    def best(self) -> str | None:
        """The name of the fastest that keeps its quality, if any does."""
        kept = {name: manifest["proof"]["measured_ms"] for name, manifest in self.manifests.items() if keeps(manifest)}
        return min(kept, key=lambda name: kept[name], default=None)


def keeps(manifest: Mapping[str, Any]) -> bool:
    """Whether a bundle's precision costs at most :data:`MOST_LOST` of quality, on the inputs it was tried on."""
    change = manifest["quality_change"]
    if change is None:
        return True
    before, after = change["by_pytorch"], change["by_bundle"]
    lost = {name: (after[name] - before[name], most) for name, most in MOST_LOST.items() if name in before}
    return all(change <= most if most > 0 else change >= most for change, most in lost.values())


def places_of(wanted: Sequence[Form], out: Path) -> dict[str, Path]:
    """Where each bundle goes: one is ``out`` itself."""
    return {form.name: out / form.name if len(wanted) > 1 else out for form in wanted}


def refuse_places(wanted: Sequence[Form], out: Path, *, best: bool) -> None:
    """Raises :class:`DeployError` if something that may not be replaced stands where a bundle is to go."""
    for place in (out,) if best else places_of(wanted, out).values():
        refuse_what_is_no_bundle(place)


def make(wanted: Sequence[Form], out: Path, build: Callable[[Form, Path], dict[str, Any]], *, best: bool) -> Made:
    """Build every form in its place; of several, one that cannot be made is told and the others go on.

    With ``best`` the fastest that keeps its quality takes the place of ``out``, and no other stays.
    """
    if best:
        with replacing(out) as folder:
            places = {form.name: folder / ".forms" / form.name for form in wanted}
            made = _built(wanted, places, build)
            if made.best is None:
                raise DeployError(
                    f"no bundle keeps its quality: {'; '.join(made.failed.values()) or 'all lose too much'}"
                )
            for path in list(places[made.best].iterdir()):
                path.rename(folder / path.name)
            shutil.rmtree(folder / ".forms")
        return Made(made.manifests, made.failed, made.asked, kept_best=True)
    return _built(wanted, places_of(wanted, out), build)


def _built(wanted: Sequence[Form], places: Mapping[str, Path], build: Callable[[Form, Path], dict[str, Any]]) -> Made:
    manifests, failed = {}, {}
    for form in wanted:
        try:
            manifests[form.name] = build(form, places[form.name])
        except (ExportError, ProfilerError, HwnasError) as exc:
            if len(wanted) == 1 or isinstance(exc, DeviceBusyError):
                raise
            failed[form.name] = str(exc)
    return Made(manifests, failed, len(wanted))
