"""Autograd for eager calls: what `_ops` says to the dispatcher, said to autograd directly.

An operator of `torch.library` defined in Python costs more per call than a small recurrent step;
an `autograd.Function` around the same engine call costs less (decision 0017).
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .. import _core
from ._call import reserve_room, run_backward, run_forward, run_step
from ._derivatives import are_many, many_at_once, second
from ._stack import Options, Stack
from ._weights import Addresses, Held, addresses_of, readable


def room_for_backward(options: Options, x: Tensor, lengths: Tensor | None) -> Tensor:
    """A reserve for this call, of just the rows that are alive."""
    first, second, _ = x.shape
    steps, rows = (second, first) if options.batch_first else (first, second)
    alive = steps * rows if lengths is None else int(lengths.clamp(0, steps).sum())
    return reserve_room(options.stack.reserve_bytes(steps, rows, alive))


def wants_grad(x: Tensor, h_0: Tensor | None, c_0: Tensor | None, params: Sequence[Tensor]) -> bool:
    """Whether autograd would record an operation on these tensors."""
    if x.requires_grad or any(p.requires_grad for p in params):
        return True
    return h_0 is not None and (h_0.requires_grad or (c_0 is not None and c_0.requires_grad))


class Scan(Function):
    """forward(held, addresses, options, x, h_0, c_0, lengths, *params) -> y, h_n[, c_n]."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        held: Held,
        addresses: Addresses | None,
        options: Options,
        x: Tensor,
        h_0: Tensor | None,
        c_0: Tensor | None,
        lengths: Tensor | None,
        *params: Tensor,
    ) -> tuple[Tensor, ...]:
        stack, batch_first, dropout, seed = options
        reserve = room_for_backward(options, x, lengths)
        inputs = (x, h_0, c_0, params, lengths)
        given = (*inputs, seed, batch_first, dropout, reserve)
        *found, packed = run_forward(stack, held, addresses, *given)
        ctx.options, ctx.packed = options, weakref.ref(packed)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h_0, c_0, lengths, reserve, *params)
        return tuple(found) if stack.has_c else (found[0], found[1])

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Any, ...]:
        options = ctx.options
        x, h_0, c_0, lengths, reserve, *params = ctx.saved_tensors
        d_y, d_h_n, d_c_n = d_outputs if options.stack.has_c else (*d_outputs, None)
        if d_y is None and d_h_n is None and d_c_n is None:
            return (None,) * (7 + len(params))
        if are_many(d_y, d_h_n, d_c_n):
            given = (d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths)
            d_x, d_h_0, d_c_0, d_params = many_at_once(options, *given)
        elif torch.is_grad_enabled():  # create_graph: these gradients will be differentiated
            saved = (x, h_0, c_0, lengths, reserve, *params)
            packed = _weights_used(ctx, options.stack, params)
            found: Any = ScanBackward.apply(options, packed, d_y, d_h_n, d_c_n, *saved)
            if options.stack.has_c:
                d_x, d_h_0, d_c_0, *d_params = found
            else:
                (d_x, d_h_0, *d_params), d_c_0 = found, None
        else:
            stack, batch_first, dropout, seed = options
            call = (d_y, d_h_n, d_c_n, x, lengths, seed, batch_first, dropout, reserve)
            packed = _weights_used(ctx, stack, params)
            d_x, d_h_0, d_c_0, d_params = run_backward(stack, packed, *call)
        if h_0 is None:
            d_h_0 = d_c_0 = None
        return None, None, None, d_x, d_h_0, d_c_0, None, *d_params


def _weights_used(ctx: Any, stack: Stack, params: list[Tensor]) -> _core.Packed:
    """The packed weights of the forward call; packed anew if nobody has them any more.

    A graph must not keep them: its nodes live for as long as somebody holds a result.
    """
    packed = ctx.packed()
    return stack.pack(addresses_of(readable(params))) if packed is None else packed


class ScanBackward(Function):
    """The gradients of `Scan` as a function: its own gradients come from the composite."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        options: Options,
        packed: _core.Packed,
        d_y: Tensor | None,
        d_h_n: Tensor | None,
        d_c_n: Tensor | None,
        x: Tensor,
        h_0: Tensor | None,
        c_0: Tensor | None,
        lengths: Tensor | None,
        reserve: Tensor,
        *params: Tensor,
    ) -> tuple[Tensor, ...]:
        stack, batch_first, dropout, seed = options
        given = (d_y, d_h_n, d_c_n, x, lengths, seed, batch_first, dropout, reserve)
        d_x, d_h_0, d_c_0, d_params = run_backward(stack, packed, *given)
        ctx.options = options
        ctx.save_for_backward(d_y, d_h_n, d_c_n, x, h_0, c_0, lengths, *params)
        return (d_x, d_h_0, *d_params) if d_c_0 is None else (d_x, d_h_0, d_c_0, *d_params)

    @staticmethod
    def backward(ctx: Any, *d_gradients: Tensor) -> tuple[Any, ...]:
        d_y, d_h_n, d_c_n, x, h_0, c_0, lengths, *params = ctx.saved_tensors
        found = second(ctx.options, d_gradients, d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths)
        return None, None, *found[:6], None, None, *found[6]


class Step(Function):
    """One step of a cell: forward(held, addresses, stack, x, h, c, *params) -> h'[, c']."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        held: Held,
        addresses: Addresses | None,
        stack: Stack,
        x: Tensor,
        h: Tensor | None,
        c: Tensor | None,
        *params: Tensor,
    ) -> Tensor | tuple[Tensor, ...]:
        rows = x.shape[0]
        reserve = reserve_room(stack.reserve_bytes(1, rows, rows))
        next_h, next_c, packed = run_step(stack, held, addresses, x, h, c, params, reserve)
        ctx.stack, ctx.packed = stack, weakref.ref(packed)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h, c, reserve, *params)
        return next_h if next_c is None else (next_h, next_c)

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Any, ...]:
        stack = ctx.stack
        x, h, c, reserve, *params = ctx.saved_tensors
        if all(d is None for d in d_outputs):
            return (None,) * (6 + len(params))
        packed = _weights_used(ctx, stack, params)
        d_states = d_outputs if stack.has_c else (*d_outputs, None)
        d_h_n, d_c_n, x, h_0, c_0 = (
            None if t is None else t.unsqueeze(0) for t in (*d_states, x, h, c)
        )
        options = Options(stack, False, 0.0, 0)
        if are_many(d_h_n, d_c_n):
            given = (None, d_h_n, d_c_n, x, h_0, c_0, params, None)
            d_x, d_h, d_c, d_params = many_at_once(options, *given)
        elif torch.is_grad_enabled():
            saved = (x, h_0, c_0, None, reserve, *params)
            found: Any = ScanBackward.apply(options, packed, None, d_h_n, d_c_n, *saved)
            if stack.has_c:
                d_x, d_h, d_c, *d_params = found
            else:
                (d_x, d_h, *d_params), d_c = found, None
        else:
            call = (None, d_h_n, d_c_n, x, None, 0, False, 0.0, reserve)
            d_x, d_h, d_c, d_params = run_backward(stack, packed, *call)
        d_h = None if h is None else d_h.squeeze(0)
        d_c = None if c is None else d_c.squeeze(0)
        return None, None, None, d_x.squeeze(0), d_h, d_c, *d_params
