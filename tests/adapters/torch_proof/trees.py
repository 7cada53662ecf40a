"""Nested arguments and results: tuples, lists, dicts and PackedSequences of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence


def apply(function: Callable[[torch.Tensor], Any], tree: Any) -> Any:
    """The same tree with `function` of every tensor; a PackedSequence's data alone."""
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, PackedSequence):
        return tree._replace(data=function(tree.data))
    if isinstance(tree, dict):
        return {key: apply(function, value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(apply(function, value) for value in tree)
    return tree


def tensors(tree: Any) -> list[torch.Tensor]:
    """Every tensor, in order."""
    found: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    apply(keep, tree)
    return found


def fresh(tree: Any) -> Any:
    """Copies that are leaves of a new graph."""
    return apply(lambda t: t.detach().clone().requires_grad_(t.requires_grad), tree)


def floating(tree: Any) -> list[torch.Tensor]:
    """Every tensor that a gradient may flow through."""
    return [t for t in tensors(tree) if t.is_floating_point()]


def noncontiguous(tensor: torch.Tensor) -> torch.Tensor:
    """The same values with a gap between neighbours; a leaf like the original."""
    if tensor.numel() < 2:
        return tensor
    wide = torch.repeat_interleave(tensor.detach(), 2, dim=-1)
    gappy = wide[..., ::2]
    assert not gappy.is_contiguous() or gappy.shape[-1] == 1
    return gappy.requires_grad_(tensor.requires_grad)


def loss(outputs: Any, weights: list[torch.Tensor] | None = None) -> torch.Tensor:
    """A scalar to which every element of every output contributes, each with its own weight."""
    parts = floating(outputs)
    if weights is None:
        weights = [arriving(part) for part in parts]
    return sum(((p * w).sum() for p, w in zip(parts, weights, strict=True)), torch.zeros(()))


def arriving(tensor: torch.Tensor) -> torch.Tensor:
    """Gradients of mixed sizes and signs, a function of the shape alone."""
    count = torch.arange(tensor.numel(), dtype=torch.float64)
    return torch.cos(1.3 * count + tensor.dim()).reshape(tensor.shape).to(tensor.dtype)
