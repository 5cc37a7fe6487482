"""The SuperTransformer: the largest model's parameters, of which every candidate is a leading slice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn

from hwnas.families.base import Family, Vocabularies
from hwnas.space import Candidate, SearchSpace

_KEPT_SKELETONS = 64


class SuperTransformer(nn.Module):
    """Weight sharing for any family, by HAT's rule (section 3.2): leading rows, columns and layers.

    The parameters are those of ``largest``; a candidate's model has parameters (and buffers) of the
    same names, each a leading slice. ``dropout`` is the largest model's; a narrower sublayer gets
    it scaled by its width (HAT, ``calc_dropout``).
    """

    def __init__(self, family: Family, space: SearchSpace, vocabularies: Vocabularies, *, dropout: float = 0.0) -> None:
        """Initialised by torch's generator: seed it for a reproducible start."""
        super().__init__()
        self.family, self.space, self.vocabularies = family, space, vocabularies
        self.dropout = dropout
        self.largest = family.model(space, space.extreme(-1), vocabularies)
        self._shared = dict(self.largest.named_parameters(remove_duplicate=False))
        self._shared_buffers = dict(self.largest.named_buffers(remove_duplicate=False))
        self._widths = {name: module.width for name, module in self.largest.named_modules() if _elastic(module)}
        self._skeletons: OrderedDict[Candidate, nn.Module] = OrderedDict()
        self._views: dict[tuple[int, torch.Size], nn.Parameter] = {}

    @contextmanager
    def active(self, candidate: Candidate) -> Iterator[nn.Module]:
        """The candidate as a plain model whose parameters are views of the shared ones.

        Gradients of a backward pass are added to the shared parameters' ``grad``; training and
        evaluation mode are the SuperTransformer's. The model is only to be used inside the block.
        """
        model = self._skeletons.get(candidate)
        if model is None:
            model = self._build(candidate)
            self._skeletons[candidate] = model
            if len(self._skeletons) > _KEPT_SKELETONS:
                self._skeletons.popitem(last=False)
        else:
            self._skeletons.move_to_end(candidate)
        if model.training != self.training:
            model.train(self.training)
        self._scale_dropout(model)
        yield model

    def extract(self, candidate: Candidate) -> nn.Module:
        """A stand-alone model with copies of the candidate's slices, in evaluation mode."""
        model = self.family.model(self.space, candidate, self.vocabularies)
        with self.active(candidate) as shared, torch.no_grad():
            sources = dict(shared.named_parameters()) | dict(shared.named_buffers())
            for name, tensor in (*model.named_parameters(), *model.named_buffers()):
                tensor.copy_(sources[name])
        return model.eval()

    def _build(self, candidate: Candidate) -> nn.Module:
        """The candidate's modules without storage, then every tensor replaced by a view of the shared one."""
        with torch.device("meta"):
            model = self.family.model(self.space, candidate, self.vocabularies)
        for path, module in model.named_modules():
            prefix = f"{path}." if path else ""
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = self._view(prefix + name, parameter.shape)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = _slice(self._shared_buffers[prefix + name], buffer.shape)
        return model

    def _view(self, name: str, shape: torch.Size) -> nn.Parameter:
        shared = self._shared[name]
        key = (id(shared), shape)  # tied parameters have two names and one view
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = _view(shared, shape)
        return view

    def _scale_dropout(self, model: nn.Module) -> None:
        for name, width in self._widths.items() if self.dropout else ():
            try:
                module = model.get_submodule(name)
            except AttributeError:
                continue  # a layer this candidate does not have
            module.p = self.dropout * module.width / width  # type: ignore[operator]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._skeletons.clear()  # their views are of the old storage
        self._views.clear()
        self._shared_buffers = dict(self.largest.named_buffers(remove_duplicate=False))
        return self

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_skeletons": OrderedDict(), "_views": {}}


def set_dropout(model: nn.Module, dropout: float) -> None:
    """Set the dropout of a stand-alone model, everywhere it has any."""
    for module in model.modules():
        if _elastic(module):
            module.p = dropout  # type: ignore[assignment]


def _elastic(module: nn.Module) -> bool:
    return hasattr(module, "width") and hasattr(module, "p")


def _slice(tensor: Tensor, shape: torch.Size) -> Tensor:
    if tensor.dim() != len(shape) or any(sub > full for sub, full in zip(shape, tensor.shape, strict=True)):
        raise ValueError(f"{tuple(shape)} is no leading slice of {tuple(tensor.shape)}")
    return tensor[tuple(slice(size) for size in shape)]


def _view(shared: nn.Parameter, shape: torch.Size) -> nn.Parameter:
    """A leaf, kept for all candidates, that shares storage with ``shared`` and adds its gradient there.

    A view made by autograd would, in every backward pass, fill a zero gradient of the full size.
    """
    view = nn.Parameter(_slice(shared.detach(), shape), requires_grad=shared.requires_grad)
    if shared.requires_grad:
        hook: Callable[[Tensor], None] = lambda leaf: _hand_over(leaf, shared)  # noqa: E731
        view.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
    return view


def _hand_over(leaf: Tensor, shared: nn.Parameter) -> None:
    gradient, leaf.grad = leaf.grad, None
    if gradient is None:
        return
    if gradient.shape == shared.shape and shared.grad is None:
        shared.grad = gradient
        return
    if shared.grad is None:
        shared.grad = torch.zeros_like(shared)
    _slice(shared.grad, gradient.shape).add_(gradient)
