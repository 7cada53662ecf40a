"""Nested arguments and results: tuples, lists, dicts and PackedSequences of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)
PackedSequence = torch.nn.utils.rnn.PackedSequence


def apply(function: Callable[[Any], Any], tree: Any) -> Any:
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


def tensors(tree: Any) -> list[Any]:
    """Every tensor, in order."""
    found: list[Any] = []

    def keep(tensor: Any) -> Any:
        found.append(tensor)
        return tensor

    apply(keep, tree)
    return found


def fresh(tree: Any) -> Any:
    """Copies that are leaves of a new graph."""
    return apply(lambda t: t.detach().clone().requires_grad_(t.requires_grad), tree)


def floating(tree: Any) -> list[Any]:
    """Every tensor that a gradient may flow through."""
    return [t for t in tensors(tree) if t.is_floating_point()]


def noncontiguous(tensor: Any) -> Any:
    """The same values with a gap between neighbours; a leaf like the original."""
    if tensor.numel() < 2:
        return tensor
    wide = torch.repeat_interleave(tensor.detach(), 2, dim=-1)
    gappy = wide[..., ::2]
    assert not gappy.is_contiguous() or gappy.shape[-1] == 1
    return gappy.requires_grad_(tensor.requires_grad)


def loss(outputs: Any, weights: list[Any] | None = None) -> Any:
    """A scalar to which every element of every output contributes, each with its own weight."""
    parts = floating(outputs)
    if weights is None:
        weights = [arriving(part) for part in parts]
    return sum(((p * w).sum() for p, w in zip(parts, weights, strict=True)), torch.zeros(()))


def arriving(tensor: Any) -> Any:
    """Gradients of mixed sizes and signs, a function of the shape alone."""
    count = torch.arange(tensor.numel(), dtype=torch.float64)
    return torch.cos(1.3 * count + tensor.dim()).reshape(tensor.shape).to(tensor.dtype)
