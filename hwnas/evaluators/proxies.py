"""Zero-cost proxies: what a model's sizes, weights or one gradient tell of how good it would be."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hwnas.data.task import Batch
from hwnas.errors import SpaceError
from hwnas.families.base import Family, KnownSublayers, Sublayers


@dataclass(frozen=True, slots=True)
class Subject:
    """A stand-alone model, which no proxy changes, its family, and a training batch for those that look at data."""

    model: nn.Module
    family: Family
    batch: Batch

    def sublayers(self) -> Sublayers:
        """Raises :class:`SpaceError` where the family does not tell them."""
        return knowing(self.family).sublayers(self.model)


def knowing(family: Family) -> KnownSublayers:
    """The same family; raises :class:`SpaceError` if it does not tell its sublayers."""
    if not isinstance(family, KnownSublayers):
        raise SpaceError(
            f"family {type(family).__name__} does not say which sublayers are its decoder's, attention's or"
            " feed-forward's (KnownSublayers); use a proxy that needs none of it"
        )
    return family


def parameters(subject: Subject) -> float:
    """All parameters: the baseline that proxies for Transformers often do not beat."""
    return float(sum(parameter.numel() for parameter in subject.model.parameters()))


def decoder_parameters(subject: Subject) -> float:
    """Parameters of the decoder's layers, embeddings left out.

    LiteTransformerSearch (Javaheripi et al., NeurIPS 2022; survey section X-E), there of models that are decoders.
    """
    return float(_count(subject.sublayers().decoder))


def gradient_norm(subject: Subject) -> float:
    """Sum over parameters of the Euclidean norm of the loss's gradient on one training batch, nats per token.

    Abdelfattah et al., *Zero-cost proxies for lightweight NAS*, ICLR 2021, section 3.2 (``grad_norm``).
    """
    model = copy.deepcopy(subject.model).requires_grad_().eval()
    loss, tokens = subject.family.loss(model, subject.batch, 0.0)
    (loss / tokens).backward()  # type: ignore[no-untyped-call]
    return sum(float(p.grad.norm()) for p in model.parameters() if p.grad is not None)


def synflow(subject: Subject) -> float:
    """Synaptic flow: the sum over parameters of weight times gradient, of a network of positive weights fed ones.

    Tanaka et al., NeurIPS 2020, section 6 (R_SF); as a proxy Abdelfattah et al., ICLR 2021, section 3.2. Embeddings
    are replaced by ones and normalisations left out (ours; the latter leave out batch normalisation), so that neither
    the data nor the embedding table counts; softmax stays. The logarithm is told: it grows by orders of magnitude a
    layer.
    """
    return _log(sum(_saliency(parameter) for parameter in _Flow(subject).model.parameters()))


def dss(subject: Subject) -> float:
    """Synaptic diversity of attention plus synaptic saliency of feed-forward layers.

    TF-TAS (Zhou et al., CVPR 2022, section 3; survey section IX-C): with synaptic flow's gradients, the sum over
    attention's weight matrices of the nuclear norm of the gradient times that of the weight, and over
    feed-forward weights of gradient times weight. The logarithm is told, as for :func:`synflow`.
    """
    subject.sublayers()  # refused before anything is computed
    flow = _Flow(subject)
    parts = flow.sublayers()
    diversity = sum(_nuclear(weight.grad) * _nuclear(weight) for weight in _matrices(parts.attention))
    saliency = sum(_saliency(weight) for weight in _matrices(parts.feed_forward))
    return _log(diversity + saliency)


@dataclass(frozen=True, slots=True)
class Proxy:
    """``score`` is meant to be the higher the better; ``of_weights``: it is not a matter of sizes alone;
    ``needs_sublayers``: the family must be a :class:`~hwnas.families.base.KnownSublayers`."""

    score: Callable[[Subject], float]
    of_weights: bool = True
    needs_sublayers: bool = False


PROXIES: Mapping[str, Proxy] = {
    "parameters": Proxy(parameters, of_weights=False),
    "decoder_parameters": Proxy(decoder_parameters, of_weights=False, needs_sublayers=True),
    "gradient_norm": Proxy(gradient_norm),
    "synflow": Proxy(synflow),
    "dss": Proxy(dss, needs_sublayers=True),
}


class _Flow:
    """A copy of a model with the gradients of the sum of its outputs, all weights positive, in double precision."""

    def __init__(self, subject: Subject) -> None:
        self._family = subject.family
        self.model = copy.deepcopy(subject.model).double().requires_grad_().eval()
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.abs_()
        one = Batch(subject.batch.source[:1], subject.batch.target[:1])
        with _Ones():
            subject.family.logits(self.model, one).sum().backward()  # type: ignore[no-untyped-call]

    def sublayers(self) -> Sublayers:
        assert isinstance(self._family, KnownSublayers)
        return self._family.sublayers(self.model)


class _Ones(TorchFunctionMode):
    """Embeddings look up ones, and normalisations do nothing."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is functional.embedding:
            ids, weight = args[:2]
            return torch.ones(*ids.shape, weight.size(1), dtype=weight.dtype)
        if func in (functional.layer_norm, functional.rms_norm):
            return args[0]
        return func(*args, **(kwargs or {}))


def _count(modules: Sequence[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def _matrices(modules: Sequence[nn.Module]) -> Iterator[nn.Parameter]:
    for module in modules:
        yield from (parameter for parameter in module.parameters() if parameter.dim() == 2)


def _saliency(parameter: Tensor) -> float:
    return 0.0 if parameter.grad is None else float((parameter.detach() * parameter.grad).sum())


def _nuclear(matrix: Tensor | None) -> float:
    return 0.0 if matrix is None else float(torch.linalg.matrix_norm(matrix.detach(), ord="nuc"))


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
