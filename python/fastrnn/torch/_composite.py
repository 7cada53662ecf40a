"""The same functions as the kernels, in plain torch operations.

They are differentiable any number of times, which the kernels are not: the second derivative of a
module is the derivative of this code. Nothing else runs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from .. import _core
from . import _cuda
from ._stack import DTYPES

State = tuple[Tensor, ...]
Tensors = tuple[Tensor, ...]


def _lstm(x: Tensor, h: Tensor, state: State) -> State:
    i, f, g, o = (x + h).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(x: Tensor, h: Tensor, state: State) -> State:
    x_r, x_z, x_n = x.chunk(3, -1)
    h_r, h_z, h_n = h.chunk(3, -1)
    z = (x_z + h_z).sigmoid()
    n = (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
    return ((1 - z) * n + z * state[0],)


_CELLS: dict[str, Callable[[Tensor, Tensor, State], State]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": lambda x, h, state: ((x + h).tanh(),),
    "rnn_relu": lambda x, h, state: ((x + h).relu(),),
}


def _scan(
    cell: str, x: Tensor, state: State, weights: list[Tensor], alive: Tensor | None, reverse: bool
) -> tuple[Tensor, State]:
    """One layer in one direction: (T, B, H) and the final state."""
    w_ih, w_hh, b_ih, b_hh = (*weights, None, None)[:4]
    inputs = torch.nn.functional.linear(x, w_ih, b_ih)
    step, outputs = _CELLS[cell], []
    times = range(x.shape[0])
    for t in reversed(times) if reverse else times:
        h = torch.nn.functional.linear(state[0], w_hh, b_hh)
        after = step(inputs[t], h, state)
        if alive is None:
            state = after
            outputs.append(state[0])
        else:  # a row that has ended keeps its state; in reverse it has not begun
            here = alive[t]
            state = tuple(torch.where(here, a, s) for a, s in zip(after, state, strict=True))
            outputs.append(torch.where(here, state[0], torch.zeros_like(state[0])))
    return torch.stack(outputs[::-1] if reverse else outputs), state


def scan(
    cell: str,
    layers: int,
    directions: int,
    batch_first: bool,
    dropout: float,
    x: Tensor,
    states: Tensors,
    params: list[Tensor],
    lengths: Tensor | None,
    seed: int | Tensor,
) -> Tensors:
    """Run the stack: (y, h_n) or (y, h_n, c_n)."""
    if batch_first:
        x = x.transpose(0, 1)
    alive = None
    if lengths is not None:
        steps = torch.arange(x.shape[0], device=x.device)
        alive = (steps[:, None] < lengths[None, :])[:, :, None]
    per_scan = len(params) // (layers * directions)
    finals: list[State] = []
    for layer in range(layers):
        if layer and dropout:
            x = x * _mask(x, layer, dropout, seed)
        halves = []
        for direction in range(directions):
            index = layer * directions + direction
            weights = params[index * per_scan : (index + 1) * per_scan]
            initial = tuple(state[index] for state in states)
            half, final = _scan(cell, x, initial, weights, alive, direction == 1)
            halves.append(half)
            finals.append(final)
        x = halves[0] if directions == 1 else torch.cat(halves, -1)
    y = x.transpose(0, 1) if batch_first else x
    return (y, *(torch.stack(parts) for parts in zip(*finals, strict=True)))


def _mask(like: Tensor, layer: int, dropout: float, seed: int | Tensor) -> Tensor:
    """The kernels' mask of this layer's input; no gradient passes through it."""
    shape = list(like.shape)
    if isinstance(seed, Tensor) and seed.dtype is torch.bool:  # of a GPU: the masks themselves
        return _cuda.scaled(seed[layer - 1], dropout, like.dtype)
    if isinstance(seed, Tensor):  # of an operator, whose tensors may have no numbers yet
        return torch.ops.fastrnn.dropout_mask(seed, shape, layer, dropout, like.dtype)  # type: ignore[no-any-return]
    return _drawn(seed, shape, layer, dropout, like.dtype)


def _drawn(
    seed: int, shape: Sequence[int], layer: int, dropout: float, dtype: torch.dtype
) -> Tensor:
    mask = _core._dropout_mask(0, math.prod(shape), layer, dropout, seed, DTYPES[dtype])
    return torch.from_numpy(mask).view(*shape)


@custom_op(
    "fastrnn::dropout_mask",
    mutates_args=(),
    schema="(Tensor seed, SymInt[] shape, int layer, float dropout, ScalarType dtype) -> Tensor",
)
def _dropout_mask(
    seed: Tensor, shape: Sequence[int], layer: int, dropout: float, dtype: torch.dtype
) -> Tensor:
    return _drawn(int(seed), shape, layer, dropout, dtype)


@_dropout_mask.register_fake
def _(seed, shape, layer, dropout, dtype):  # type: ignore[no-untyped-def]
    return seed.new_empty(shape, dtype=dtype)


def gradients(run: Callable[..., Tensors], inputs: Tensors, d_outputs: Tensors) -> Any:
    """What the kernels' backward computes of `run(*inputs)`, differentiably."""
    _, pull = torch.func.vjp(run, *inputs)
    return pull(d_outputs)


def second_gradients(
    run: Callable[..., Tensors], inputs: Tensors, d_outputs: Tensors, d_gradients: Tensors
) -> Tensors:
    """Pull gradients of `gradients(run, inputs, d_outputs)` back to d_outputs and inputs.

    Returns those of d_outputs, then those of inputs.
    """
    count = len(d_outputs)

    def first(*arguments: Tensor) -> Any:
        return gradients(run, arguments[count:], arguments[:count])

    _, pull = torch.func.vjp(first, *d_outputs, *inputs)
    return tuple(pull(d_gradients))
