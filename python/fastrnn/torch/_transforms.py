"""The operators under torch.func, whose levels want a gradient and a batching rule each.

`scan` and `scan_backward` have the arguments and results of the operators and end in them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from . import _batching
from ._derivatives import second
from ._stack import Options, stack_of

_FORM = 5  # numbers in (cell, layers, directions, batch_first, dropout)


def scan(x: Any, h_0: Any, c_0: Any, params: Any, lengths: Any, seed: Any, *form: Any) -> Any:
    """fastrnn::scan."""
    return _Scan.apply(form, x, h_0, c_0, lengths, seed, *params)


def scan_backward(*arguments: Any) -> Any:
    """fastrnn::scan_backward."""
    d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths, seed, reserve, *form = arguments
    fixed = (d_y, d_h_n, d_c_n, x, h_0, c_0, lengths, seed, reserve)
    d_x, d_h_0, d_c_0, *d_params = _ScanBackward.apply(tuple(form), *fixed, *params)
    return d_x, d_h_0, d_c_0, d_params


class _Scan(Function):
    @staticmethod
    def forward(
        form: Any, x: Any, h_0: Any, c_0: Any, lengths: Any, seed: Any, *params: Any
    ) -> Any:
        return torch.ops.fastrnn.scan(x, h_0, c_0, [*params], lengths, seed, *form)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        form, x, h_0, c_0, lengths, seed, *params = inputs
        ctx.form = form[:_FORM]
        ctx.mark_non_differentiable(output[3])
        ctx.save_for_backward(x, h_0, c_0, lengths, seed, output[3], *params)

    @staticmethod
    def backward(ctx: Any, d_y: Tensor, d_h_n: Tensor, d_c_n: Tensor, _: Any) -> Any:
        x, h_0, c_0, lengths, seed, reserve, *params = ctx.saved_tensors
        if ctx.form[0] != "lstm":
            d_c_n = None  # type: ignore[assignment]
        given = (x, h_0, c_0, params, lengths, seed, reserve)
        found = scan_backward(d_y, d_h_n, d_c_n, *given, *ctx.form)
        d_x, d_h_0, d_c_0, d_params = found
        d_states = (None if h_0 is None else d_h_0, None if c_0 is None else d_c_0)
        return None, d_x, *d_states, None, None, *d_params

    @staticmethod
    def vmap(info: Any, in_dims: Any, form: Any, *tensors: Any) -> Any:
        x, h_0, c_0, lengths, seed, *params = tensors
        d = in_dims[1:]
        axes = (*d[:3], [*d[5:]], *d[3:5], *(None for _ in form))
        arguments = (x, h_0, c_0, params, lengths, seed, *form)
        return _batching.scan(scan, info, axes, *arguments)


class _ScanBackward(Function):
    @staticmethod
    def forward(form: Any, *tensors: Any) -> Any:
        *fixed, lengths, seed, reserve = tensors[:9]
        given = (*fixed, [*tensors[9:]], lengths, seed, reserve)
        d_x, d_h_0, d_c_0, d_params = torch.ops.fastrnn.scan_backward(*given, *form)
        return d_x, d_h_0, d_c_0, *d_params

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        form, d_y, d_h_n, d_c_n, x, h_0, c_0, lengths, seed, _, *params = inputs
        ctx.form = form
        ctx.save_for_backward(d_y, d_h_n, d_c_n, x, h_0, c_0, lengths, seed, *params)

    @staticmethod
    def backward(ctx: Any, *d_gradients: Any) -> Any:
        d_y, d_h_n, d_c_n, x, h_0, c_0, lengths, seed, *params = ctx.saved_tensors
        cell, layers, directions, batch_first, dropout = ctx.form
        sizes = (int(params[0].shape[1]), int(params[1].shape[1]), layers, directions)
        bias = len(params) == 4 * layers * directions
        stack = stack_of(cell, *sizes, bias, params[0].dtype)
        d_x, d_h_0, d_c_0, *d_params = d_gradients
        flat = (d_x, d_h_0, *([d_c_0] if stack.has_c else []), *d_params)
        options = Options(stack, batch_first, dropout, seed)
        found = second(options, flat, d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths)
        return None, *found[:6], None, None, None, *found[6]

    @staticmethod
    def vmap(info: Any, in_dims: Any, form: Any, *tensors: Any) -> Any:
        *fixed, lengths, seed, reserve = tensors[:9]
        d = in_dims[1:]
        axes = (*d[:6], [*d[9:]], *d[6:9], *(None for _ in form))
        arguments = (*fixed, [*tensors[9:]], lengths, seed, reserve, *form)
        out, out_axes = _batching.scan_backward(scan, scan_backward, info, axes, *arguments)
        return (*out[:3], *out[3]), (*out_axes[:3], *out_axes[3])
