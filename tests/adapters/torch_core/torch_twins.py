"""A torch.nn module and ours with the same parameters, and one comparison of two runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import fastrnn.torch as ft

LAYERS = [("LSTM", {}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"})]
CELLS = [("LSTMCell", {}), ("GRUCell", {}), ("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu"})]
every_layer = pytest.mark.parametrize(("name", "options"), LAYERS)
I, H = 5, 7
# relative to the largest element: sums of some hundred products, in another order
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def twins(name: str, *sizes: int, **options: Any) -> tuple[Any, Any]:
    """(torch.nn's, ours)."""
    theirs = getattr(torch.nn, name)(*sizes, **options)
    ours = getattr(ft, name)(*sizes, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def tensors(value: Any) -> list[Tensor]:
    """The tensors of nested results, in order."""
    if isinstance(value, Tensor):
        return [value]
    return [t for part in value if part is not None for t in tensors(part)]


def leaves(*values: Any) -> list[Any]:
    """Copies that ask for gradients; None stays None."""
    return [None if v is None else v.detach().clone().requires_grad_() for v in values]


def state(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Initial states of a module: one, or two for LSTM."""
    return [torch.randn(shape, dtype=dtype) for _ in range(1 + name.startswith("LSTM"))]


def hx(name: str, states: Sequence[Tensor] | None) -> Any:
    """The states as a module takes them."""
    if not states:
        return None
    return tuple(states) if name.startswith("LSTM") else states[0]


def assert_close(found: Any, expected: Any, about: str = "") -> None:
    """Every tensor within the tolerance of its dtype, and of the same shape and dtype."""
    ours, theirs = tensors(found), tensors(expected)
    assert len(ours) == len(theirs), about
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), (about, number)
        if b.numel():
            error = (a - b).abs().max() / b.abs().max().clamp(min=1)
            assert error <= TOLERANCE[b.dtype], (about, number, float(error))


def run(module: Any, x: Any, states: Any, weights: Sequence[Tensor] | None, **call: Any) -> Any:
    """Results, and the gradients of x, states and parameters of a weighted sum of the results."""
    name = type(module).__name__
    given = leaves(x, *(states or []))
    out = tensors(module(given[0], hx(name, given[1:]), **call))
    module.zero_grad()
    if weights is None:
        return out, []
    pairs = [(o, w) for o, w in zip(out, weights, strict=True) if w is not None]
    torch.autograd.backward([o for o, _ in pairs], [w for _, w in pairs])
    return out, [g.grad for g in (*given, *module.parameters())]
