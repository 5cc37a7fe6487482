"""SubTransformer files: HAT's own YAML and ours, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hwnas.errors import SpaceError
from hwnas.families.seq2seq.precision import BLOCKS
from hwnas.families.seq2seq.space import DECODER_CHOICES, ENCODER_CHOICES, build_space, layer_values
from hwnas.space import Candidate, SearchSpace
from hwnas.workload import Workload

_SCALARS = {
    "encoder-embed-dim-subtransformer": "encoder_embed",
    "decoder-embed-dim-subtransformer": "decoder_embed",
    "encoder-layer-num-subtransformer": "encoder_layers",
    "decoder-layer-num-subtransformer": "decoder_layers",
}
_LISTS = {
    "encoder-ffn-embed-dim-all-subtransformer": "encoder_ffn",
    "decoder-ffn-embed-dim-all-subtransformer": "decoder_ffn",
    "encoder-self-attention-heads-all-subtransformer": "encoder_heads",
    "decoder-self-attention-heads-all-subtransformer": "decoder_self_heads",
    "decoder-ende-attention-heads-all-subtransformer": "decoder_cross_heads",
    "decoder-arbitrary-ende-attn-all-subtransformer": "decoder_attended",
}
_ATTENDED = {-1: 1, 1: 2, 2: 3}
"""HAT's code for arbitrary encoder-decoder attention -> number of last encoder layers attended to."""

HAT_QKV = 512
"""HAT's query, key and value width, the same in all its spaces (``qkv-dim`` of its configs)."""


def read_candidate(path: Path, space: SearchSpace) -> Candidate:
    """The candidate of ``space`` in a file: HAT's YAML, or choices by name (at the top or in ``choices``).

    HAT's lists may be longer than the depth; what is beyond it is inert and ignored.
    Raises :class:`SpaceError` for a file that cannot be read or a candidate that is not of the space.
    """
    try:
        return space.candidate(_values(_read(path)))
    except SpaceError as exc:
        raise _named(path, exc) from exc


def read_stand_alone(path: Path, workload: Workload, qkv: int = HAT_QKV) -> tuple[SearchSpace, Candidate]:
    """HAT's candidate with the smallest space that holds it, for a file read without naming a space.

    ``qkv`` is HAT's one width. Raises :class:`SpaceError` for a candidate of ours: its width is its space's.
    """
    document = _read(path)
    if not _is_hats(document):
        raise SpaceError(f"{path}: it names no space and is not HAT's YAML; name its space (--space)")
    try:
        values = _values(document)
        space = _space_of(values, workload, qkv)
        return space, space.candidate(values)
    except SpaceError as exc:
        raise _named(path, exc) from exc


def space_of_hat_yaml(path: Path, workload: Workload, qkv: int = HAT_QKV) -> SearchSpace:
    """The smallest space that holds the SubTransformer in ``path``; see :func:`read_stand_alone`."""
    return read_stand_alone(path, workload, qkv)[0]


def hat_document(candidate: Candidate) -> str:
    """HAT's own YAML of a candidate, its lists as long as the candidate is deep."""
    if any(name.partition(".")[0] in BLOCKS for name, _ in candidate.entries):
        raise SpaceError("HAT's files know no precisions, and this candidate has a choice of them")
    codes = {attended: code for code, attended in _ATTENDED.items()}
    lines = [f"{key}: {candidate[name]}" for key, name in _SCALARS.items()]
    for key, name in _LISTS.items():
        layers = candidate["encoder_layers" if name in ENCODER_CHOICES else "decoder_layers"]
        values = list(layer_values(candidate, name, layers))
        if name == "decoder_attended":
            beyond = [value for value in values if value not in codes]
            if beyond:
                raise SpaceError(f"decoder_attended = {beyond[0]}: HAT's files know 1, 2 and 3 only")
            values = [codes[value] for value in values]
        lines.append(f"{key}: {values}")
    return "\n".join(lines) + "\n"


def _named(path: Path, exc: SpaceError) -> SpaceError:
    message = str(exc)
    return SpaceError(message if message.startswith(str(path)) else f"{path}: {message}")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SpaceError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise SpaceError(f"{path} is not YAML: it is not even text") from exc
    except (yaml.YAMLError, ValueError) as exc:  # a date that cannot be is a ValueError
        raise SpaceError(f"{path} is not YAML: {' '.join(str(exc).split())}") from exc
    if isinstance(document, dict) and isinstance(document.get("choices"), dict):
        document = document["choices"]
    if not isinstance(document, dict):
        raise SpaceError(f"{path} is not a SubTransformer: it must be a mapping of choices to values")
    return document


def _is_hats(document: Mapping[str, Any]) -> bool:
    return any(key in _SCALARS or key in _LISTS for key in document)


def _values(document: Mapping[str, Any]) -> dict[str, int]:
    if not _is_hats(document):
        return {str(key): _whole(str(key), value) for key, value in document.items()}
    known = {*_SCALARS, *_LISTS}
    unknown = sorted(str(key) for key in document if str(key).endswith("-subtransformer") and key not in known)
    if unknown:
        raise SpaceError(f"{unknown[0]!r} is not a key of a HAT SubTransformer")
    missing = [key for key in (*_SCALARS, *_LISTS) if key not in document]
    if missing:
        raise SpaceError(f"{missing[0]} is missing")
    values = {name: _whole(key, document[key]) for key, name in _SCALARS.items()}
    for key, name in _LISTS.items():
        values |= _per_layer(key, name, document[key], values)
    return values


def _per_layer(key: str, name: str, entries: object, values: Mapping[str, int]) -> dict[str, int]:
    depth = values["encoder_layers" if name in ENCODER_CHOICES else "decoder_layers"]
    if not isinstance(entries, list) or len(entries) < depth:
        raise SpaceError(f"{key}: {entries!r} is not a list of at least {depth} layers")
    per_layer = {}
    for layer, entry in enumerate(entries[:depth]):
        value = _whole(key, entry)
        if name == "decoder_attended":
            if value not in _ATTENDED:
                raise SpaceError(f"{key}: {value} is not one of -1, 1, 2")
            value = _ATTENDED[value]
        per_layer[f"{name}.{layer}"] = value
    return per_layer


def _whole(key: str, value: object) -> int:
    if type(value) is not int:
        raise SpaceError(f"{key}: {value!r} is not a whole number")
    return value


def _space_of(values: Mapping[str, int], workload: Workload, qkv: int) -> SearchSpace:
    choices: dict[str, list[int]] = {}
    for name in ("encoder_embed", "encoder_layers", "decoder_embed", "decoder_layers"):
        if values[name] < 1:
            raise SpaceError(f"{name}: {values[name]} is not at least 1")
        choices[name] = [values[name]]
    for name in (*ENCODER_CHOICES, *DECODER_CHOICES):
        layers = values["encoder_layers" if name in ENCODER_CHOICES else "decoder_layers"]
        given = {values[f"{name}.{layer}"] for layer in range(layers)}
        if min(given) < 1:
            raise SpaceError(f"{name}: {min(given)} is not at least 1")
        choices[name] = sorted(given)
    for name in ("encoder_heads", "decoder_self_heads", "decoder_cross_heads"):
        for heads in choices[name]:
            if qkv % heads:
                raise SpaceError(f"{name}: {heads} heads do not divide the query-key-value width {qkv}")
    if max(choices["decoder_attended"]) > values["encoder_layers"]:
        raise SpaceError(f"decoder_attended: the encoder has only {values['encoder_layers']} layers")
    return build_space("stand-alone", "seq2seq", choices, {"qkv": qkv, "positions": 1024}, workload)
