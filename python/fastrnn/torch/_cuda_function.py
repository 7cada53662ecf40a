"""Autograd for eager calls on a GPU; `_function` has the same for the CPU's engine.

There are no packed weights to hold: the kernels pack them anew in every scan, on the GPU, where
that is one launch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from . import _cuda
from ._derivatives import are_many, many_at_once, second
from ._function import wants_grad
from ._stack import Options, Stack


def call(
    stack: Stack,
    batch_first: bool,
    dropout: float,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    params: list[Tensor],
    lengths: Tensor | None,
) -> tuple[Tensor, ...]:
    """An eager call: y, h_n and, for LSTM, c_n."""
    masks = _cuda.draw_masks(x, stack.layers, stack.width, batch_first, dropout)
    options = Options(stack, batch_first, dropout, masks)
    if torch.is_grad_enabled() and wants_grad(x, h_0, c_0, params):
        found: Any = Scan.apply(options, x, h_0, c_0, lengths, *params)
    else:
        found = _cuda.run_forward(options, x, h_0, c_0, params, lengths, None)
    return found if stack.has_c else found[:2]  # type: ignore[no-any-return]


class Scan(Function):
    """forward(options, x, h_0, c_0, lengths, *params) -> y, h_n[, c_n]."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        options: Options,
        x: Tensor,
        h_0: Tensor | None,
        c_0: Tensor | None,
        lengths: Tensor | None,
        *params: Tensor,
    ) -> tuple[Tensor, ...]:
        first, second_, _ = x.shape
        steps, rows = (second_, first) if options.batch_first else (first, second_)
        size = _cuda.reserve_bytes(options.stack, steps, rows)
        reserve = _cuda.machine_of(x).xp.empty((size,), "uint8")
        y, h_n, c_n = _cuda.run_forward(options, x, h_0, c_0, params, lengths, reserve)
        # masks are saved as tensors are, so that saved-tensor hooks see them
        ctx.options = options._replace(seed=None)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h_0, c_0, lengths, options.seed, reserve, *params)
        return (y, h_n) if c_n is None else (y, h_n, c_n)

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Any, ...]:
        x, h_0, c_0, lengths, masks, reserve, *params = ctx.saved_tensors
        options = ctx.options._replace(seed=masks)
        d_y, d_h_n, d_c_n = d_outputs if options.stack.has_c else (*d_outputs, None)
        if d_y is None and d_h_n is None and d_c_n is None:
            return (None,) * (5 + len(params))
        if are_many(d_y, d_h_n, d_c_n):
            given = (d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths)
            d_x, d_h_0, d_c_0, d_params = many_at_once(options, *given)
        elif torch.is_grad_enabled():  # create_graph: these gradients will be differentiated
            saved = (x, h_0, c_0, lengths, masks, reserve, *params)
            d_x, d_h_0, *rest = ScanBackward.apply(ctx.options, d_y, d_h_n, d_c_n, *saved)
            d_c_0, d_params = (rest[0], rest[1:]) if options.stack.has_c else (None, rest)
        else:
            call = (d_y, d_h_n, d_c_n, x, params, lengths, reserve)
            d_x, d_h_0, d_c_0, d_params = _cuda.run_backward(options, *call)
        if h_0 is None:
            d_h_0 = d_c_0 = None
        return None, d_x, d_h_0, d_c_0, None, *d_params


class ScanBackward(Function):
    """The gradients of `Scan` as a function: its own gradients come from the composite."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        options: Options,
        d_y: Tensor | None,
        d_h_n: Tensor | None,
        d_c_n: Tensor | None,
        x: Tensor,
        h_0: Tensor | None,
        c_0: Tensor | None,
        lengths: Tensor | None,
        masks: Tensor | None,
        reserve: Tensor,
        *params: Tensor,
    ) -> tuple[Tensor, ...]:
        drawn = options._replace(seed=masks)
        call = (d_y, d_h_n, d_c_n, x, params, lengths, reserve)
        d_x, d_h_0, d_c_0, d_params = _cuda.run_backward(drawn, *call)
        ctx.options = options
        ctx.save_for_backward(d_y, d_h_n, d_c_n, x, h_0, c_0, lengths, masks, *params)
        return (d_x, d_h_0, *d_params) if d_c_0 is None else (d_x, d_h_0, d_c_0, *d_params)

    @staticmethod
    def backward(ctx: Any, *d_gradients: Tensor) -> tuple[Any, ...]:
        d_y, d_h_n, d_c_n, x, h_0, c_0, lengths, masks, *params = ctx.saved_tensors
        options = ctx.options._replace(seed=masks)
        found = second(options, d_gradients, d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths)
        return None, *found[:6], None, None, None, *found[6]
