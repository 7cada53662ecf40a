"""Derivatives that the kernels do not compute, by torch's operations over the forward, run again.

Those are second derivatives, and first ones for many gradients of outputs at once
(`is_grads_batched=True`, `jacobian(vectorize=True)`), whose tensors have no memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _composite
from ._stack import Options

_is_many = torch._C._functorch.is_legacy_batchedtensor
_is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor


def second(
    options: Options,
    d_gradients: tuple[Tensor, ...],
    d_y: Tensor | None,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    params: list[Tensor],
    lengths: Tensor | None,
) -> tuple[Any, ...]:
    """Second derivatives: for d_y, d_h_n, d_c_n, x, h_0, c_0 and the list of params.

    `d_gradients` belong to d_x, d_h_0[, d_c_0] and the gradients of the parameters. What was
    absent is zero and gets None.
    """
    run, inputs, d_outputs = _in_torch(options, d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths)
    outputs = len(d_outputs)
    with torch.autocast(x.device.type, enabled=False):
        found = _composite.second_gradients(run, inputs, d_outputs, d_gradients)
    d_d = [*found[:outputs], None][:3]
    d_d = [None if g is None else f for g, f in zip((d_y, d_h_n, d_c_n), d_d, strict=True)]
    states = outputs - 1
    d_states = [None, None] if h_0 is None else [*found[outputs + 1 : outputs + 1 + states], None]
    return (*d_d, found[outputs], *d_states[:2], list(found[outputs + 1 + states :]))


def many_at_once(
    options: Options,
    d_y: Tensor | None,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    params: list[Tensor],
    lengths: Tensor | None,
) -> tuple[Any, ...]:
    """Gradients for many d_y at once: d_x, d_h_0, d_c_0 and d_params."""
    run, inputs, d_outputs = _in_torch(options, d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths)
    states = len(d_outputs) - 1
    with torch.autocast(x.device.type, enabled=False):
        found = _composite.gradients(run, inputs, d_outputs)
    return found[0], *[*found[1 : 1 + states], None][:2], list(found[1 + states :])


def are_many(*d_outputs: Tensor | None) -> bool:
    """Whether gradients of outputs are many in one, as `is_grads_batched=True` makes them.

    torch.func.vmap over torch.autograd.grad makes others, which have no memory either.
    """
    return any(d is not None and (_is_many(d) or _is_wrapped(d)) for d in d_outputs)


def _in_torch(
    options: Options,
    d_y: Tensor | None,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    params: list[Tensor],
    lengths: Tensor | None,
) -> tuple[Any, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The forward as torch operations, its inputs and the gradients of its outputs.

    What is absent is zero.
    """
    stack, batch_first, dropout, seed = options
    lengths = None if lengths is None else lengths.to(x.device)
    first, second_, _ = x.shape
    rows = first if batch_first else second_
    states, outputs = stack.has_c + 1, stack.has_c + 2
    shapes = [(first, second_, stack.width)] + [(stack.scans, rows, stack.hidden_size)] * states
    given = [d_y, d_h_n, d_c_n][:outputs]
    d_outputs = tuple(
        x.new_zeros(shape) if d is None else d for d, shape in zip(given, shapes, strict=True)
    )
    initial = tuple(
        x.new_zeros(shapes[1]) if state is None else state for state in (h_0, c_0)[:states]
    )

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        form = (stack.cell, stack.layers, stack.directions, batch_first, dropout)
        return _composite.scan(*form, x, rest[:states], [*rest[states:]], lengths, seed)

    return run, (x, *initial, *params), d_outputs
