"""The shortest way through one step of a cell, for calls like the one before.

A step lasts a few microseconds, as long as a dozen questions to tensors. A cell that has run keeps
what was found then; a call with the same Parameters at the same place, and with inputs of the same
shapes, needs only the questions below. Any other is answered None, and goes the long way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _core
from ._context import quiet
from ._function import Step, wants_grad
from ._weights import Held

_empty_like = torch.empty_like
_step_at = _core.step_at
_grad_enabled = torch.is_grad_enabled
TORCH = object()


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
    shapes = held.shapes
    if shapes is None:
        return None
    x_shape, shape = shapes
    dtype, c = stack.dtype, None
    if stack.has_c:
        if type(hx) is not tuple or len(hx) != 2:
            return None
        h, c = hx
        if not (
            type(c) is Tensor
            and c.shape == shape
            and c.dtype is dtype
            and c.is_cpu
            and c.is_contiguous()
            and not c.is_neg()
        ):
            return None
    else:
        h = hx
    if not (
        type(x) is Tensor
        and type(h) is Tensor
        and x.shape == x_shape
        and h.shape == shape
        and x.dtype is dtype
        and h.dtype is dtype
        and x.is_cpu
        and h.is_cpu
        and x.is_contiguous()
        and h.is_contiguous()
        and not (x.is_neg() or h.is_neg())
    ):
        return None
    params = [*own.values()]
    if not stack.bias:
        params = params[:2]
    # held.known(params), here: a call takes a twentieth of the step
    if held.params is None or [*map(id, params)] != held.ids:
        return None
    found = tuple([p.data_ptr() for p in params])
    if found != held.addresses or not held.are_whole(params):
        return None
    if _grad_enabled() and wants_grad(x, h, c, params):
        return Step.apply(held, found, stack, x, h, c, *params)
    next_h = _empty_like(h)
    next_c: Any = None if c is None else _empty_like(c)
    first, second = (0, 0) if c is None else (c.data_ptr(), next_c.data_ptr())
    x_at, h_at = x.data_ptr(), h.data_ptr()
    if not x_at or not h_at or (c is not None and not first):  # emptied storages
        return None
    call = (x_shape[0], x_at, h_at, first, next_h.data_ptr(), second)
    held.packed = _step_at(held.packed or stack.pack(found), found, *call)
    return next_h if c is None else (next_h, next_c)
