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
from ._call import Places, reserve_room, run_backward, run_forward, run_step
from ._derivatives import are_many, many_at_once, second
from ._stack import Options, Sizes, Stack
from ._weights import Addresses, Held, addresses_of, readable


def room_for_backward(sizes: Sizes, x: Tensor, lengths: Tensor | None) -> Tensor:
    """A reserve for this call, of just the rows that are alive."""
    if lengths is None:
        return reserve_room(x, sizes.reserve_bytes)
    steps, rows = sizes.steps, sizes.rows
    alive = int(lengths.clamp(0, steps).sum())
    return reserve_room(x, sizes.stack.reserve_bytes(steps, rows, alive))


def wants_grad(x: Tensor, h_0: Tensor | None, c_0: Tensor | None, params: Sequence[Tensor]) -> bool:
    """Whether autograd would record an operation on these tensors."""
    if x.requires_grad or any(p.requires_grad for p in params):
        return True
    return h_0 is not None and (h_0.requires_grad or (c_0 is not None and c_0.requires_grad))


class Scan(Function):
    """forward(*what, dropout, seed, x, h_0, c_0, lengths, *params) -> y, h_n[, c_n].

    `what` are held, addresses, places and sizes, as `run_forward` takes them.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        held: Held,
        addresses: Addresses | None,
        places: Places | None,
        sizes: Sizes,
        dropout: float,
        seed: int,
        x: Tensor,
        h_0: Tensor | None,
        c_0: Tensor | None,
        lengths: Tensor | None,
        *params: Tensor,
    ) -> tuple[Tensor, ...]:
        reserve = room_for_backward(sizes, x, lengths)
        given = (x, h_0, c_0, params, lengths, dropout, seed, reserve)
        y, h_n, c_n, packed = run_forward(sizes, held, addresses, places, *given)
        ctx.call = (sizes, dropout, seed, weakref.ref(packed))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h_0, c_0, lengths, reserve, *params)
        return (y, h_n) if c_n is None else (y, h_n, c_n)

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Any, ...]:
        sizes, dropout, seed, packed = ctx.call
        x, h_0, c_0, lengths, reserve, *params = ctx.saved_tensors
        if all(d is None for d in d_outputs):
            return (None,) * (10 + len(params))
        given = (*d_outputs, None)[:3]
        drawn = (dropout, seed)
        d_x, d_h_0, d_c_0, d_params = _gradients(
            sizes, drawn, packed, given, x, h_0, c_0, lengths, reserve, params
        )
        if h_0 is None:
            d_h_0 = d_c_0 = None
        return None, None, None, None, None, None, d_x, d_h_0, d_c_0, None, *d_params


def _gradients(
    sizes: Sizes,
    drawn: tuple[float, int],
    used: Any,
    d_outputs: tuple[Tensor | None, ...],
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    lengths: Tensor | None,
    reserve: Tensor,
    params: list[Tensor],
) -> tuple[Any, ...]:
    """d_x, d_h_0, d_c_0 and d_params of a recorded call, by the way its gradients ask for.

    `used` is a weak reference to the packed weights of the forward call, `drawn` its dropout and
    seed.
    """
    d_y, d_h_n, d_c_n = d_outputs
    if are_many(d_y, d_h_n, d_c_n):
        options = Options(sizes.stack, sizes.batch_first, *drawn)
        return many_at_once(options, d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths)
    packed = _weights_used(used, sizes.stack, params)
    if torch.is_grad_enabled():  # create_graph: these gradients will be differentiated
        saved = (x, h_0, c_0, lengths, reserve, *params)
        found: Any = ScanBackward.apply(sizes, drawn, packed, d_y, d_h_n, d_c_n, *saved)
        if sizes.stack.has_c:
            d_x, d_h_0, d_c_0, *d_params = found
            return d_x, d_h_0, d_c_0, d_params
        d_x, d_h_0, *d_params = found
        return d_x, d_h_0, None, d_params
    return run_backward(sizes, packed, d_y, d_h_n, d_c_n, x, lengths, *drawn, reserve)


def _weights_used(used: Any, stack: Stack, params: list[Tensor]) -> _core.Packed:
    """The packed weights of the forward call; packed anew if nobody has them any more.

    A graph must not keep them: its nodes live for as long as somebody holds a result.
    """
    packed = used()
    return stack.pack(addresses_of(readable(params))) if packed is None else packed


class ScanBackward(Function):
    """The gradients of `Scan` as a function: its own gradients come from the composite."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        sizes: Sizes,
        drawn: tuple[float, int],
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
        given = (d_y, d_h_n, d_c_n, x, lengths, *drawn, reserve)
        d_x, d_h_0, d_c_0, d_params = run_backward(sizes, packed, *given)
        ctx.options = Options(sizes.stack, sizes.batch_first, *drawn)
        ctx.save_for_backward(d_y, d_h_n, d_c_n, x, h_0, c_0, lengths, *params)
        return (d_x, d_h_0, *d_params) if d_c_0 is None else (d_x, d_h_0, d_c_0, *d_params)

    @staticmethod
    def backward(ctx: Any, *d_gradients: Tensor) -> tuple[Any, ...]:
        d_y, d_h_n, d_c_n, x, h_0, c_0, lengths, *params = ctx.saved_tensors
        found = second(ctx.options, d_gradients, d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths)
        return None, None, None, *found[:6], None, None, *found[6]


class Step(Function):
    """One step of a cell: forward(held, addresses, sizes, x, h, c, *params) -> h'[, c']."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        held: Held,
        addresses: Addresses | None,
        sizes: Sizes,
        x: Tensor,
        h: Tensor | None,
        c: Tensor | None,
        *params: Tensor,
    ) -> Tensor | tuple[Tensor, ...]:
        reserve = reserve_room(x, sizes.reserve_bytes)
        next_h, next_c, packed = run_step(sizes.stack, held, addresses, x, h, c, params, reserve)
        ctx.call = (sizes, weakref.ref(packed))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h, c, reserve, *params)
        return next_h if next_c is None else (next_h, next_c)

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Any, ...]:
        sizes, packed = ctx.call
        x, h, c, reserve, *params = ctx.saved_tensors
        if all(d is None for d in d_outputs):
            return (None,) * (6 + len(params))
        d_states = (*d_outputs, None)[:2]
        d_h_n, d_c_n, *scanned = [
            None if t is None else t.unsqueeze(0) for t in (*d_states, x, h, c)
        ]
        given: Any = ((None, d_h_n, d_c_n), *scanned, None, reserve, params)
        d_x, d_h, d_c, d_params = _gradients(sizes, (0.0, 0), packed, *given)
        d_h = None if h is None else d_h.squeeze(0)
        d_c = None if c is None else d_c.squeeze(0)
        return None, None, None, d_x.squeeze(0), d_h, d_c, *d_params


# `apply` without its look for tensors that outlived a torch.func transform, which takes a third of
# the time of a small call. For calls whose tensors are known to be memory (`_quick`).
quick_scan_apply = super(Function, Scan).apply
quick_step_apply = super(Function, Step).apply
