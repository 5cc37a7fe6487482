"""A seq2seq space document, checked, becomes a SearchSpace with one choice per layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwnas.errors import SpaceError, WorkloadError
from hwnas.families.seq2seq.precision import BITS, precision_choices
from hwnas.space import Candidate, Choice, SearchSpace
from hwnas.workload import Workload

_Size = Annotated[int, Field(gt=0, strict=True)]
_Sizes = Annotated[list[_Size], Field(min_length=1)]

ENCODER_CHOICES = ("encoder_ffn", "encoder_heads")
DECODER_CHOICES = ("decoder_ffn", "decoder_self_heads", "decoder_cross_heads", "decoder_attended")


class _Choices(BaseModel):
    model_config = ConfigDict(extra="forbid")
    encoder_embed: _Sizes
    encoder_layers: _Sizes
    encoder_ffn: _Sizes
    encoder_heads: _Sizes
    decoder_embed: _Sizes
    decoder_layers: _Sizes
    decoder_ffn: _Sizes
    decoder_self_heads: _Sizes
    decoder_cross_heads: _Sizes
    decoder_attended: _Sizes
    precisions: Annotated[list[str], Field(min_length=1)] | None = None


class _Fixed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    qkv: _Size
    positions: _Size = 1024


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    family: str
    workload: dict[str, int]
    choices: _Choices
    fixed: _Fixed


def parse_space(document: Mapping[str, Any]) -> SearchSpace:
    """The space of a document; per-layer choices become ``encoder_ffn.0``, ``encoder_ffn.1`` …

    ``decoder_attended`` is how many of the last encoder layers a decoder layer attends to
    (HAT, section 3.1: arbitrary encoder-decoder attention). ``precisions`` is what any block may be in: see
    :mod:`hwnas.families.seq2seq.precision`. Raises :class:`SpaceError`.
    """
    try:
        parsed = _Document.model_validate(document)
    except ValidationError as exc:
        raise SpaceError(_first_error(exc)) from exc
    try:
        workload = Workload.from_dict(parsed.workload)
    except WorkloadError as exc:
        raise SpaceError(str(exc)) from exc
    _check(parsed, workload)
    values = parsed.choices.model_dump()
    precisions = values.pop("precisions") or ()
    return build_space(parsed.name, parsed.family, values, parsed.fixed.model_dump(), workload, precisions)


def _first_error(exc: ValidationError) -> str:
    """What is wrong, in a line; an unknown key before what is missing because of it."""
    error = min(exc.errors(), key=lambda error: error["type"] != "extra_forbidden")
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        parent = str(error["loc"][0]) if len(error["loc"]) > 1 else ""
        models: dict[str, type[BaseModel]] = {"choices": _Choices, "fixed": _Fixed}
        model = models.get(parent, _Document)
        return f"unknown key {where!r}; known there: {', '.join(model.model_fields)}"
    if error["type"] == "missing":
        return f"key {where!r} is missing"
    return f"{where}: {error['msg']} (got {error['input']!r})"


def build_space(
    name: str,
    family: str,
    values: Mapping[str, list[int]],
    fixed: Mapping[str, int],
    workload: Workload,
    precisions: Sequence[str] = (),
) -> SearchSpace:
    """A space from the values of every choice, in the order of HAT's gene; then the precision of every block."""
    choices = [
        *_side(values, "encoder_embed", "encoder_layers", ENCODER_CHOICES),
        *_side(values, "decoder_embed", "decoder_layers", DECODER_CHOICES),
        *precision_choices(values, precisions),
    ]
    return SearchSpace(name, family, tuple(choices), dict(fixed), workload)


def _side(values: Mapping[str, list[int]], embed: str, depth: str, per_layer: tuple[str, ...]) -> list[Choice]:
    depths = values[depth]
    choices = [Choice(embed, tuple(values[embed])), Choice(depth, tuple(depths))]
    for name in per_layer:
        for layer in range(max(depths)):
            when = (depth, layer + 1) if layer >= min(depths) else None
            choices.append(Choice(f"{name}.{layer}", tuple(values[name]), when))
    return choices


def _check(parsed: _Document, workload: Workload) -> None:
    qkv, positions = parsed.fixed.qkv, parsed.fixed.positions
    for name in ("encoder_heads", "decoder_self_heads", "decoder_cross_heads"):
        for heads in getattr(parsed.choices, name):
            if qkv % heads:
                raise SpaceError(f"choices.{name}: {heads} heads do not divide fixed.qkv = {qkv}")
    for precision in parsed.choices.precisions or ():
        if precision not in BITS:
            raise SpaceError(f"choices.precisions: {precision!r} cannot be mixed; a block may be in {', '.join(BITS)}")
    attended, depth = max(parsed.choices.decoder_attended), min(parsed.choices.encoder_layers)
    if attended > depth:
        raise SpaceError(
            f"choices.decoder_attended: {attended} layers cannot be attended to"
            f" where the encoder may have only {depth} (choices.encoder_layers)"
        )
    longest = max(workload.source_tokens, workload.target_tokens)
    if longest > positions:
        raise SpaceError(f"fixed.positions: {positions} is less than the workload's {longest} tokens")


def layer_values(candidate: Candidate, name: str, layers: int) -> tuple[int, ...]:
    """The values of a per-layer choice over the first ``layers`` layers."""
    values = candidate.as_dict()
    return tuple(values[f"{name}.{layer}"] for layer in range(layers))
