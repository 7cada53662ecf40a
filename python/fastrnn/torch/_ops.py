"""`torch.ops.fastrnn.scan` and its backward: the engine as operators that torch can reason about.

torch.compile, torch.export, torch.func and everything else that watches the dispatcher sees a call
as one node with a shape rule, a gradient and a batching rule. Eager calls take a shorter way to the
same engine (`_function`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from . import _batching, _context, _cuda, _transforms
from ._call import reserve_room, run_backward, run_forward
from ._derivatives import second
from ._stack import Options, Sizes, Stack, stack_of
from ._weights import refresh, weights_of

_FORM = "str cell, int layers, int directions, bool batch_first, float dropout"
_INPUTS = "Tensor x, Tensor? h_0, Tensor? c_0, Tensor[] params, Tensor? lengths, Tensor? seed"
_CLEARED_BYTES = 1 << 20


def call(
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    params: list[Tensor],
    lengths: Tensor | None,
    cell: str,
    layers: int,
    directions: int,
    batch_first: bool,
    dropout: float,
) -> tuple[Tensor, ...]:
    """Run a module's call through the dispatcher: y, h_n and c_n, which is empty without c."""
    if _cuda.runs_on(x):  # the seed is the masks there, and everything lies beside x
        width = directions * params[1].shape[1]
        seed = _cuda.draw_masks(x, layers, width, batch_first, dropout)
        lengths = None if lengths is None else lengths.to(x.device, non_blocking=True)
    else:
        seed = torch.randint(2**63 - 1, (), device="cpu") if dropout else None
    keep = torch.is_grad_enabled() and (
        _context.transformed()
        or any(t is not None and t.requires_grad for t in (x, h_0, c_0, *params))
    )
    form = (cell, layers, directions, batch_first, dropout, keep)
    # A gradient registered with an operator is unknown to torch.func; a Function's is not.
    run = _transforms.scan if _context.transformed() else torch.ops.fastrnn.scan
    y, h_n, c_n, _ = run(x, h_0, c_0, params, lengths, seed, *form)
    return y, h_n, c_n


def _stack(params: list[Tensor], cell: str, layers: int, directions: int) -> Stack:
    bias = len(params) == 4 * layers * directions
    sizes = (int(params[0].shape[1]), int(params[1].shape[1]), layers, directions)
    return stack_of(cell, *sizes, bias, params[0].dtype)


def _number(seed: Tensor | None) -> int:
    return 0 if seed is None else int(seed)


def _reserve_bytes(stack: Stack, x: Tensor, steps: Any, rows: Any) -> Any:
    """Room for a reserve; ints, or symbols of a compiler, which knows no lengths."""
    if _cuda.runs_on(x):
        return _cuda.reserve_bytes(stack, steps, rows)
    return stack.reserve_bytes(steps, rows, steps * rows)


@custom_op(
    "fastrnn::scan",
    mutates_args=(),
    schema=f"({_INPUTS}, {_FORM}, bool keep) -> (Tensor, Tensor, Tensor, Tensor)",
)
def scan(
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    params: list[Tensor],
    lengths: Tensor | None,
    seed: Tensor | None,
    cell: str,
    layers: int,
    directions: int,
    batch_first: bool,
    dropout: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, h_n, c_n (empty but for LSTM) and, if `keep`, the reserve that backward reads."""
    stack = _stack(params, cell, layers, directions)
    first, second_, _ = x.shape
    steps, rows = (second_, first) if batch_first else (first, second_)
    on_gpu, reserve = _cuda.runs_on(x), None
    if keep or (dropout and not on_gpu):  # the engine draws masks in training calls
        size = _reserve_bytes(stack, x, steps, rows)
        reserve = x.new_empty(size, dtype=torch.uint8) if on_gpu else reserve_room(x, size)
        # Padding and the rows that have ended are never read, and never written. torch.library's
        # checkers compare every byte of every result; where it costs nothing they may.
        if reserve.numel() <= _CLEARED_BYTES:
            reserve.zero_()
    if on_gpu:
        lengths = None if lengths is None else _cuda.place_lengths(lengths, x, steps)
        options = Options(stack, batch_first, dropout, seed)
        y, h_n, c_n = _cuda.run_forward(options, x, h_0, c_0, params, lengths, reserve)
    else:
        with weights_of(stack, params) as held:
            sizes = Sizes(stack, batch_first, x.shape)
            inputs = (x, h_0, c_0, params, lengths)
            drawn = (dropout, _number(seed), reserve)
            y, h_n, c_n, _ = run_forward(sizes, held, None, None, *inputs, *drawn)
    if c_n is None:
        c_n = x.new_empty(0)
    return (
        y,
        h_n,
        c_n,
        reserve if keep and reserve is not None else x.new_empty(0, dtype=torch.uint8),
    )


@scan.register_fake
def _(x, h_0, c_0, params, lengths, seed, cell, layers, directions, batch_first, dropout, keep):  # type: ignore[no-untyped-def]
    stack = _stack(params, cell, layers, directions)
    first, second_, _ = x.shape
    steps, rows = (second_, first) if batch_first else (first, second_)
    state = (stack.scans, rows, stack.hidden_size)
    kept = _reserve_bytes(stack, x, steps, rows) if keep else 0
    return (
        x.new_empty((first, second_, stack.width)),
        x.new_empty(state),
        x.new_empty(state if stack.has_c else 0),
        x.new_empty(kept, dtype=torch.uint8),
    )


@custom_op(
    "fastrnn::scan_backward",
    mutates_args=(),
    schema=(
        f"(Tensor? d_y, Tensor? d_h_n, Tensor? d_c_n, {_INPUTS}, Tensor reserve, {_FORM})"
        " -> (Tensor, Tensor, Tensor, Tensor[])"
    ),
)
def scan_backward(
    d_y: Tensor | None,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    params: list[Tensor],
    lengths: Tensor | None,
    seed: Tensor | None,
    reserve: Tensor,
    cell: str,
    layers: int,
    directions: int,
    batch_first: bool,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """d_x, d_h_0, d_c_0 (empty but for LSTM) and the gradients of the parameters."""
    stack = _stack(params, cell, layers, directions)
    d_outputs = (d_y, d_h_n, d_c_n if stack.has_c else None)
    if _cuda.runs_on(x):
        if lengths is not None:
            lengths = _cuda.place_lengths(lengths, x, x.shape[1 if batch_first else 0])
        options = Options(stack, batch_first, dropout, seed)
        found = _cuda.run_backward(options, *d_outputs, x, params, lengths, reserve)
    else:
        with weights_of(stack, params) as held:
            packed = refresh(held, stack, params)
            call = (*d_outputs, x, lengths, dropout, _number(seed))
            sizes = Sizes(stack, batch_first, x.shape)
            found = run_backward(sizes, packed, *call, reserve)
    d_x, d_h_0, d_c_0, d_params = found
    return d_x, d_h_0, x.new_empty(0) if d_c_0 is None else d_c_0, d_params


@scan_backward.register_fake
def _(  # type: ignore[no-untyped-def]
    d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths, seed, reserve,
    cell, layers, directions, batch_first, dropout,
):  # fmt: skip
    stack = _stack(params, cell, layers, directions)
    rows = x.shape[0 if batch_first else 1]
    state = (stack.scans, rows, stack.hidden_size)
    return (
        x.new_empty(x.shape),
        x.new_empty(state),
        x.new_empty(state if stack.has_c else 0),
        [p.new_empty(p.shape) for p in params],
    )


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    x, h_0, c_0, params, lengths, seed, *form, keep = inputs
    ctx.form, ctx.keep = form, keep
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, h_0, c_0, lengths, seed, output[3], *params)


def _scan_gradient(ctx: Any, d_y: Any, d_h_n: Any, d_c_n: Any, _: Any) -> Any:
    x, h_0, c_0, lengths, seed, reserve, *params = ctx.saved_tensors
    if not ctx.keep:
        raise RuntimeError("fastrnn::scan: keep is False, so there is nothing to go back through")
    none = [None] * 5
    if d_y is None and d_h_n is None and d_c_n is None:
        return None, None, None, [None] * len(params), None, None, *none, None
    if ctx.form[0] != "lstm":
        d_c_n = None
    given = (x, h_0, c_0, params, lengths, seed, reserve)
    d_x, d_h_0, d_c_0, d_params = torch.ops.fastrnn.scan_backward(
        d_y, d_h_n, d_c_n, *given, *ctx.form
    )
    d_states = (None, None) if h_0 is None else (d_h_0, None if c_0 is None else d_c_0)
    return d_x, *d_states, d_params, None, None, *none, None


def _save_backward(ctx: Any, inputs: Any, output: Any) -> None:
    d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths, seed, _, *form = inputs
    ctx.form = form
    ctx.save_for_backward(d_y, d_h_n, d_c_n, x, h_0, c_0, lengths, seed, *params)


def _second_gradient(ctx: Any, *d_gradients: Any) -> Any:
    d_y, d_h_n, d_c_n, x, h_0, c_0, lengths, seed, *params = ctx.saved_tensors
    cell, layers, directions, batch_first, dropout = ctx.form
    stack = _stack(params, cell, layers, directions)
    d_x, d_h_0, d_c_0, d_params = d_gradients
    flat = (d_x, d_h_0, *([d_c_0] if stack.has_c else []), *d_params)
    options = Options(stack, batch_first, dropout, seed)
    found = second(options, flat, d_y, d_h_n, d_c_n, x, h_0, c_0, params, lengths)
    return *found, None, None, None, *([None] * 5)


scan.register_autograd(_scan_gradient, setup_context=_save)
scan_backward.register_autograd(_second_gradient, setup_context=_save_backward)
_scan, _scan_backward = torch.ops.fastrnn.scan, torch.ops.fastrnn.scan_backward
scan.register_vmap(partial(_batching.scan, _scan))
scan_backward.register_vmap(partial(_batching.scan_backward, _scan, _scan_backward))
