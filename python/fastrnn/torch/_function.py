"""Autograd for eager calls: what `_ops` says to the dispatcher, said to autograd directly.

An operator of `torch.library` defined in Python costs more per call than a small recurrent step;
an `autograd.Function` around the same engine call costs less (decision 0017).
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from .. import _core
from . import _composite
from ._call import reserve_room, run_backward, run_forward, run_step
from ._stack import Stack
from ._weights import Addresses, Held, addresses_of, readable


class Options(NamedTuple):
    """What a call says beside its tensors."""

    stack: Stack
    batch_first: bool
    dropout: float  # 0 unless masks are drawn
    seed: Any  # an int, or for `second` of an operator a tensor that holds it


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
        packed = _weights_used(ctx, options.stack, params)
        d_y, d_h_n, d_c_n = d_outputs if options.stack.has_c else (*d_outputs, None)
        if d_y is None and d_h_n is None and d_c_n is None:
            return (None,) * (7 + len(params))
        if torch.is_grad_enabled():  # create_graph: these gradients will be differentiated
            saved = (x, h_0, c_0, lengths, reserve, *params)
            found: Any = ScanBackward.apply(options, packed, d_y, d_h_n, d_c_n, *saved)
            if options.stack.has_c:
                d_x, d_h_0, d_c_0, *d_params = found
            else:
                (d_x, d_h_0, *d_params), d_c_0 = found, None
        else:
            stack, batch_first, dropout, seed = options
            given = (d_y, d_h_n, d_c_n, x, lengths, seed, batch_first, dropout, reserve)
            d_x, d_h_0, d_c_0, d_params = run_backward(stack, packed, *given)
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
    stack, batch_first, dropout, seed = options
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

    with torch.autocast("cpu", enabled=False):
        found = _composite.second_gradients(run, (x, *initial, *params), d_outputs, d_gradients)
    d_d = [*found[:outputs], None][:3]
    d_d = [None if g is None else f for g, f in zip((d_y, d_h_n, d_c_n), d_d, strict=True)]
    d_states = [None, None] if h_0 is None else [*found[outputs + 1 : outputs + 1 + states], None]
    return (*d_d, found[outputs], *d_states[:2], list(found[outputs + 1 + states :]))


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
        if torch.is_grad_enabled():
            options = Options(stack, False, 0.0, 0)
            saved = (x, h_0, c_0, None, reserve, *params)
            found: Any = ScanBackward.apply(options, packed, None, d_h_n, d_c_n, *saved)
            if stack.has_c:
                d_x, d_h, d_c, *d_params = found
            else:
                (d_x, d_h, *d_params), d_c = found, None
        else:
            given = (None, d_h_n, d_c_n, x, None, 0, False, 0.0, reserve)
            d_x, d_h, d_c, d_params = run_backward(stack, packed, *given)
        d_h = None if h is None else d_h.squeeze(0)
        d_c = None if c is None else d_c.squeeze(0)
        return None, None, None, d_x.squeeze(0), d_h, d_c, *d_params
