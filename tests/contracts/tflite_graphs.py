"""The TFLite files in ``tests/golden/tflite`` and what they were made of: ``python -m contracts.tflite_graphs``."""

from pathlib import Path

import torch
from torch import nn

from exporters import GraphInputs

GOLDEN = Path(__file__).parents[1] / "golden" / "tflite"


class Linear(nn.Module):
    """y = x W, (1, size)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(size, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


class Counting(nn.Module):
    """A step with a cache of fixed length: y = x + step, next = past + y + memory."""

    def forward(
        self, x: torch.Tensor, step: torch.Tensor, memory: torch.Tensor, past: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        y = x + step
        return y, past + (y + memory)


class Feed(nn.Module):
    """A sublayer: two projections, a residual, a normalisation; (6, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(16, 32), nn.Linear(32, 16), nn.LayerNorm(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.down(torch.relu(self.up(x))))


class Embedding(nn.Module):
    """What no Ethos-U does: rows of a table, then something it does."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids) * 2 + 1


def golden() -> dict[str, tuple[nn.Module, GraphInputs, str]]:
    """File stem -> module, inputs and precision."""
    torch.manual_seed(0)
    linear, counting, feed, embedding = Linear(8), Counting(), Feed(), Embedding()
    row, past = torch.randn(1, 8), torch.randn(2, 8)
    x = GraphInputs({"x": row}, ("y",))
    loop = GraphInputs({"x": row, "step": torch.tensor([3]), "memory": torch.randn(1, 8), "past": past}, ("y", "next"))
    wide = GraphInputs({"x": torch.randn(6, 16)}, ("y",))
    ids = GraphInputs({"ids": torch.tensor([3, 1, 4, 1])}, ("y",))
    return {
        "linear": (linear, x, "fp32"),
        "linear-16": (Linear(16), GraphInputs({"x": torch.randn(1, 16)}, ("y",)), "fp32"),
        "linear-int8": (linear, x, "int8"),
        "counting": (counting, loop, "fp32"),
        "feed": (feed, wide, "fp32"),
        "feed-int8": (feed, wide, "int8"),
        "embedding-int8": (embedding, ids, "int8"),
    }


if __name__ == "__main__":
    from profiler.exporting import open_exporter

    with open_exporter("litert") as exporter:
        for stem, (module, inputs, precision) in golden().items():
            exporter.export(module, inputs, GOLDEN / f"{stem}.tflite", precision=precision)
