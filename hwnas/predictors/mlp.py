"""HAT's latency predictor: its network, its normalisation and its training, step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from hwnas.predictors.arrays import as_json, from_json
from hwnas.workload import Workload

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.float64]

SIZES = (10, 400, 400, 400, 400, 1)
FEATURE_NORM = (640, 6, 2048, 6, 640, 6, 2048, 6, 6, 2)
"""HAT's divisors of the ten features (``feature-norm`` of its latency_predictor.py)."""
LATENCY_NORMS_MS = (200.0, 300.0, 5000.0)
"""HAT's divisors of the latency (``lat-norm`` of its configs, for its GPU, its Xeon and its Raspberry Pi)."""
STEPS, BATCH, LEARNING_RATE = 5000, 128, 1e-5


@dataclass(frozen=True, slots=True)
class HatMlp:
    """10-400-400-400-400-1 with ReLU, 486,001 weights (Wang et al. 2020; latency_predictor.py).

    ``layers`` are (weight (out, in), bias (out,)) in float32; latencies were divided by ``latency_norm_ms``.
    """

    layers: tuple[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], ...]
    latency_norm_ms: float

    @classmethod
    def fit(cls, features: Array, latency_ms: Array, *, workload: Workload, seed: int) -> Self:
        """Adam (learning rate 1e-5), 5,000 steps of 128 rows drawn anew, mean squared error, no early stop.

        With fewer rows than 128 every step takes them all. The workload does not matter.
        """
        import torch

        norm = latency_norm_ms(latency_ms)
        inputs = torch.from_numpy((features / FEATURE_NORM).astype(np.float32))
        targets = torch.from_numpy((latency_ms / norm).astype(np.float32))
        generator = torch.Generator().manual_seed(seed)
        network = Network(generator)
        with torch.no_grad():
            for _ in range(STEPS):
                rows = torch.randperm(len(inputs), generator=generator)[:BATCH]
                network.step(inputs[rows], targets[rows])
        return cls(tuple((w.numpy().copy(), b.numpy().copy()) for w, b in network.layers), norm)

    def predict_ms(self, features: Array) -> Array:
        """Milliseconds, (models,), for features (models, 10)."""
        hidden = features / FEATURE_NORM
        for number, (weight, bias) in enumerate(self.layers):
            hidden = np.matmul(hidden, weight.T.astype(np.float64)) + bias
            if number < len(self.layers) - 1:
                hidden = np.maximum(hidden, 0)
        latency_ms: Array = hidden[:, 0] * self.latency_norm_ms
        return latency_ms

    def as_dict(self) -> dict[str, object]:
        """The weights, exactly."""
        layers = [{"weight": as_json(weight), "bias": as_json(bias)} for weight, bias in self.layers]
        return {"latency_norm_ms": self.latency_norm_ms, "layers": layers}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`."""
        layers = tuple((from_json(layer["weight"]), from_json(layer["bias"])) for layer in document["layers"])
        shapes = [(weight.shape, bias.shape) for weight, bias in layers]
        if shapes != [((outputs, inputs), (outputs,)) for inputs, outputs in pairwise(SIZES)]:
            raise ValueError(f"layers of shapes {shapes}, which are not HAT's")
        return cls(layers, float(document["latency_norm_ms"]))


def latency_norm_ms(latency_ms: Array) -> float:
    """HAT's divisor that is nearest the mean latency; the mean itself for a device far from all of HAT's."""
    mean = float(np.mean(latency_ms))
    nearest = min(LATENCY_NORMS_MS, key=lambda norm: abs(math.log(mean / norm)))
    return nearest if abs(math.log(mean / nearest)) < math.log(2) else mean


class Network:
    """The network in training, its forward and backward passes written out.

    That halves the time of autograd over ``nn.Linear``, without which four sets and ten splits would take
    a quarter of an hour on two cores; most of it is oneDNN's matrix product, which is twice as fast
    as the one behind ``torch.mm`` where that is not made for the processor, in the same float32.
    """

    def __init__(self, generator: torch.Generator) -> None:
        """Weights and biases uniform within 1 / sqrt(inputs), as ``nn.Linear`` draws them."""
        import torch

        shapes: list[tuple[int, ...]] = [
            shape for inputs, outputs in pairwise(SIZES) for shape in ((outputs, inputs), (outputs,))
        ]
        bounds = [1 / math.sqrt(inputs) for inputs in SIZES[:-1] for _ in range(2)]
        drawn = [
            (2 * torch.rand(shape, generator=generator) - 1) * bound
            for shape, bound in zip(shapes, bounds, strict=True)
        ]
        flat = torch.cat([tensor.flatten() for tensor in drawn]).requires_grad_()
        flat.grad = torch.zeros_like(flat)
        self._adam = torch.optim.Adam([flat], lr=LEARNING_RATE, fused=True)
        self.layers = self._split(flat.detach(), shapes)
        self._gradients = self._split(flat.grad, shapes)

    @staticmethod
    def _split(flat: torch.Tensor, shapes: list[tuple[int, ...]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Views of one tensor as weights and biases: one optimiser step for all."""
        import torch

        pieces = torch.split(flat, [math.prod(shape) for shape in shapes])
        views = [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
        return list(zip(views[0::2], views[1::2], strict=True))

    def step(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """One step of Adam on the mean squared error of (batch, 10) against (batch,)."""
        import torch

        *hidden, (weight, bias) = self.layers
        *hidden_gradients, (weight_gradient, bias_gradient) = self._gradients
        active = [inputs]
        for layer_weight, layer_bias in hidden:
            active.append(_product(active[-1], layer_weight.t(), layer_bias).relu_())
        error = (torch.addmv(bias, active[-1], weight[0]) - targets) * (2 / len(targets))
        torch.mv(active[-1].t(), error, out=weight_gradient[0])
        bias_gradient[0] = error.sum()
        delta = torch.outer(error, weight[0])
        for number in reversed(range(len(hidden))):
            delta = delta.mul_(active[number + 1] > 0)
            hidden_gradients[number][0].copy_(_product(delta.t().contiguous(), active[number]))
            torch.sum(delta, 0, out=hidden_gradients[number][1])
            if number:
                delta = _product(delta, hidden[number][0])
        self._adam.step()


def _product(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``left @ right + bias`` by oneDNN, where torch was built with it."""
    import torch

    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), bias, "none", [], "")
        return result
    return left @ right if bias is None else torch.addmm(bias, left, right)
