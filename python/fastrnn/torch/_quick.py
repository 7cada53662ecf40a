"""The shortest way through a call that is like the one before.

A call of a small module lasts as long as some dozens of questions to tensors. A module that has
run keeps what was found then; a call with the same Parameters as they were, and with inputs of the
same shapes, needs only the questions below. Any other is answered None, and goes the long way.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from .. import _core
from ._call import run_forward
from ._context import quiet
from ._function import quick_scan_apply, quick_step_apply, wants_grad
from ._weights import Held

_empty_like = torch.empty_like
_step_at = _core.step_at
_grad_enabled = torch.is_grad_enabled
TORCH = object()

# What users may assign to in a layer after it is made; `_modules` and `_why` ask for each of them.
said_of = attrgetter(
    "batch_first",
    "training",
    "dropout",
    "proj_size",
    "mode",
    "input_size",
    "hidden_size",
    "num_layers",
    "bidirectional",
)


def memory_of(tensor: Any, shape: Sequence[int], dtype: torch.dtype) -> int:
    """Where a tensor lies that is nothing but numbers in C order, of this shape; 0 if it is not."""
    if not (
        type(tensor) is Tensor
        and tensor.shape == shape
        and tensor.dtype is dtype
        and tensor.is_cpu
        and tensor.is_contiguous()
        and not tensor.is_neg()
    ):
        return 0
    try:
        return tensor.data_ptr()  # 0 if its storage was emptied
    except RuntimeError:  # a wrapper that outlived its torch.func transform
        return 0


def quick_scan(held: Held, module: Any, own: dict[str, Any], x: Any, hx: Any) -> Any:
    """What the layer returns for a batch of one length, None if this is not a call like the last.

    `own` are the module's Parameters by name. What is in `held.last` drew no masks.
    """
    last = held.last
    if last is None or not quiet():
        return None
    said, sizes = last
    stack = sizes.stack
    dtype = stack.dtype
    x_at = memory_of(x, sizes.x_shape, dtype)
    if not x_at or said_of(module) != said:
        return None
    h = c = None
    h_at = c_at = 0
    if hx is not None:
        if stack.has_c:
            if type(hx) is not tuple or len(hx) != 2:
                return None
            h, c = hx
            c_at = memory_of(c, sizes.state, dtype)
            if not c_at:
                return None
        else:
            h = hx
        h_at = memory_of(h, sizes.state, dtype)
        if not h_at:
            return None
    params = [*own.values()]
    addresses = held.known(params)
    if addresses is None:
        return None
    places = (x_at, *sizes.x_strides, h_at, c_at)
    found: Any
    if _grad_enabled() and wants_grad(x, h, c, params):
        if sizes.steps == 1 and not (stack.has_c or stack.records_steps):
            return None  # torch.nn may be quicker (`_why.why_slower`)
        known = (held, addresses, places, sizes, 0.0, 0)
        found = quick_scan_apply(*known, x, h, c, None, *params)
    else:
        tensors = (x, h, c, params, None)
        found = run_forward(sizes, held, addresses, places, *tensors, 0.0, 0, None)
    return (found[0], (found[1], found[2])) if stack.has_c else (found[0], found[1])


def quick_step(held: Held, own: dict[str, Any], x: Tensor, hx: Any) -> Any:
    """What the cell returns, None if this is not a call like the last one, or TORCH.

    TORCH says that torch.nn records the step in less time (`_why.why_slower`).
    `own` are the module's Parameters by name.
    """
    if not quiet() or not isinstance(x, Tensor):
        return None
    stack: Any = held.stack
    if stack is not None:
        if not stack.records_steps and _grad_enabled():
            weight = own.get("weight_hh")
            if weight is not None and weight.requires_grad:
                return TORCH
        if stack.is_wide and stack.too_short(1, x.shape[0] if x.dim() == 2 else 1):
            return TORCH
    last = held.last
    if last is None:
        return None
    x_shape, shape, sizes = last
    dtype = stack.dtype
    h, c = hx, None
    first = 0
    if stack.has_c:
        if type(hx) is not tuple or len(hx) != 2:
            return None
        h, c = hx
        first = memory_of(c, shape, dtype)
        if not first:
            return None
    x_at, h_at = memory_of(x, x_shape, dtype), memory_of(h, shape, dtype)
    if not x_at or not h_at:
        return None
    params = [*own.values()]
    if not stack.bias:
        params = params[:2]
    addresses = held.known(params)
    if addresses is None:
        return None
    if _grad_enabled() and wants_grad(x, h, c, params):
        return quick_step_apply(held, addresses, sizes, x, h, c, *params)
    next_h = _empty_like(h)
    next_c: Any = None if c is None else _empty_like(c)
    second = 0 if next_c is None else next_c.data_ptr()
    call = (x_shape[0], x_at, h_at, first, next_h.data_ptr(), second)
    held.packed = _step_at(held.packed or stack.pack(addresses), addresses, *call)
    return next_h if c is None else (next_h, next_c)
