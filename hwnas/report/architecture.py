"""A candidate as people read it: whole-model choices, layers by stack, one line, and what differs from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwnas.report.documents import Figure, escaped


@dataclass(frozen=True, slots=True)
class Stack:
    """The choices that every layer of a stack has: columns, and a row for every layer."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Figure | None, ...]], ...]


@dataclass(frozen=True)
class Architecture:
    """A candidate's choices and where they stand in a file."""

    values: Mapping[str, object]
    place: str

    def choice(self, name: str) -> Figure | None:
        """One of them."""
        value = self.values.get(name)
        return Figure(value, (f"{self.place}/{escaped(name)}",)) if isinstance(value, int) else None

    @property
    def widths(self) -> list[tuple[str, Figure | None]]:
        """Those that stand for the whole model or stack."""
        return [(name.replace("_", " "), self.choice(name)) for name in self.values if "." not in name]

    @property
    def stacks(self) -> list[Stack]:
        """Those that every layer has, ``encoder_ffn.0`` in the stack ``encoder``."""
        found: dict[str, dict[str, dict[str, Figure | None]]] = {}
        for name in self.values:
            kind, dot, layer = name.partition(".")
            if dot:
                stack, _, column = kind.partition("_")
                found.setdefault(stack, {}).setdefault(layer, {})[column or kind] = self.choice(name)
        stacks = []
        for stack, layers in found.items():
            columns = tuple(dict.fromkeys(column for row in layers.values() for column in row))
            rows = tuple((layer, tuple(row.get(column) for column in columns)) for layer, row in layers.items())
            stacks.append(Stack(stack, tuple(column.replace("_", " ") for column in columns), rows))
        return stacks

    @property
    def line(self) -> Figure:
        """All of it in one line."""
        return Figure(one_line(self.values), (self.place,), "architecture")

    def differences(self, other: Architecture) -> list[tuple[str, Figure | None]]:
        """The choices that are not as in ``other``; ``None`` for one that only ``other`` has."""
        names = dict.fromkeys([*self.values, *other.values])
        return [
            (name.replace("_", " "), self.choice(name))
            for name in names
            if self.values.get(name) != other.values.get(name)
        ]


def one_line(values: Mapping[str, object]) -> str:
    """``encoder: embed 64, layers 3, ffn 256 256 128, heads 2 2 2; decoder: …``."""
    stacks: dict[str, dict[str, list[str]]] = {}
    for name, value in values.items():
        stack, _, column = name.partition(".")[0].partition("_")
        stacks.setdefault(stack, {}).setdefault(column.replace("_", " "), []).append(str(value))
    return "; ".join(
        f"{stack}: {', '.join(f'{column} {chr(32).join(entries)}'.strip() for column, entries in columns.items())}"
        for stack, columns in stacks.items()
    )
