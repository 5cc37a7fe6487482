"""The key of a lookup table: one operator, its sizes and its precision."""

from __future__ import annotations

import re
from dataclasses import dataclass

from latency_luts.errors import LutFormatError

_SPEC = re.compile(r"(?P<kind>[a-z][a-z0-9_]*)\[(?P<sizes>[^\[\]]*)\]")
_SIZE = re.compile(r"(?P<name>[a-z][a-z0-9_]*)=(?P<value>[0-9]+)")


@dataclass(frozen=True, slots=True, order=True)
class OperatorSpec:
    """An operator as deployed, e.g. ``encoder_ffn[embed=512,ffn=2048,tokens=30,precision=fp32]``.

    ``sizes`` are kept sorted by name, so that equal operators are equal values.
    """

    kind: str
    sizes: tuple[tuple[str, int], ...]
    precision: str = "fp32"

    @classmethod
    def of(cls, kind: str, /, *, precision: str = "fp32", **sizes: int) -> OperatorSpec:
        """``OperatorSpec.of("encoder_ffn", embed=512, ffn=2048, tokens=30)``."""
        return cls(kind, tuple(sorted(sizes.items())), precision)

    @classmethod
    def parse(cls, text: str) -> OperatorSpec:
        """The inverse of ``str``; raises :class:`LutFormatError` for anything else."""
        match = _SPEC.fullmatch(text)
        if match is None:
            raise LutFormatError(f"{text!r} is not an operator like kind[size=1,precision=fp32]")
        precision, sizes = None, {}
        for part in match["sizes"].split(","):
            if part.startswith("precision="):
                precision = part.removeprefix("precision=")
            elif (size := _SIZE.fullmatch(part)) is not None:
                sizes[size["name"]] = int(size["value"])
            else:
                raise LutFormatError(f"{text!r}: {part!r} is not a size like embed=512")
        if not precision:
            raise LutFormatError(f"{text!r} names no precision")
        return cls.of(match["kind"], precision=precision, **sizes)

    def __str__(self) -> str:
        parts = [f"{name}={value}" for name, value in self.sizes]
        return f"{self.kind}[{','.join([*parts, f'precision={self.precision}'])}]"

    def __getitem__(self, name: str) -> int:
        """The size called ``name``; raises ``KeyError`` if the operator has none such."""
        return dict(self.sizes)[name]
