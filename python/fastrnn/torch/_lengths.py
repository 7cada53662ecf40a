"""Rows of different lengths: `lengths=`, PackedSequence, and both for calls that torch.nn runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from . import _context, _cuda
from ._why import why_not


def checked(call: str, x: Tensor, lengths: Any, batch_first: bool) -> Tensor:
    """Return lengths as a (B,) int64 tensor; the engine looks at the values.

    In CPU memory, but for those on the GPU that x is on: fetching them would wait for it.
    """
    if x.dim() != 3:
        raise ValueError(
            f"{call}: lengths is given but input has {x.dim()} dimensions, expected 3; "
            f"one sequence has nothing to pad, pass input[:n]"
        )
    # a copy of what may be written to before backward: versions of tensors are counted
    found = lengths if isinstance(lengths, Tensor) else torch.tensor(lengths, device="cpu")
    rows = x.shape[0 if batch_first else 1]
    if found.is_floating_point() or found.is_complex() or found.dtype is torch.bool:
        raise TypeError(f"{call}: lengths has dtype {found.dtype}, expected integers")
    if tuple(found.shape) != (rows,):
        raise ValueError(
            f"{call}: lengths has shape {tuple(found.shape)}, expected (B,) = ({rows},)"
        )
    device = "cpu" if x.is_cpu or found.device != x.device else x.device
    return found.to(device=device, dtype=torch.int64).contiguous()


def run_packed(module: Any, packed: PackedSequence, hx: Any, lengths: Any) -> Any:
    """A call of a module with a PackedSequence: it comes back as one."""
    if lengths is not None:
        raise ValueError(
            f"{type(module).__name__}: lengths is given with a PackedSequence, expected one of the "
            f"two; the sequence knows its lengths"
        )
    data, batch_sizes, sorted_indices, unsorted_indices = packed
    params = module._weights()
    steps, rows = len(batch_sizes), int(batch_sizes[0])
    lengths = (batch_sizes[None, :] > torch.arange(rows, device=batch_sizes.device)[:, None]).sum(1)
    padded, places = data[:0], None
    if data.dim() == 2 and (data.is_cpu or _cuda.runs_on(data)):
        if len(data) == steps * rows:  # of one length: the same numbers in the same order
            padded = data.view(steps, rows, -1)
        else:
            places = _places(batch_sizes, rows, len(data), data.device)
            padded = _pad(data, places, (steps, rows))
    states = hx if hx is None else _permuted(hx, sorted_indices)
    if padded.dim() != 3 or why_not(module, padded, states, params, False, ragged=True) is not None:
        return module._torch_class.forward(module, packed, hx)
    pair = states if module.mode == "LSTM" and states is not None else (states, None)
    y, hx = module._run(padded, pair, params, lengths, False, packed=True)
    flat = y.flatten(0, 1)
    found = flat if places is None else _unpad(flat, places)
    kept = PackedSequence(found, batch_sizes, sorted_indices, unsorted_indices)
    return kept, _permuted(hx, unsorted_indices)


def _places(batch_sizes: Tensor, rows: int, count: int, device: torch.device) -> Tensor:
    """Where the `count` packed rows lie in (T * B) rows: each step's end in padding.

    `batch_sizes` are on the host; on a GPU nothing is asked back.
    """
    skipped = (rows - batch_sizes).cumsum(0) - (rows - batch_sizes)  # padding before each step
    batch_sizes, skipped = (t.to(device, non_blocking=True) for t in (batch_sizes, skipped))
    before = torch.repeat_interleave(skipped, batch_sizes, output_size=count)
    return before + torch.arange(count, device=device)


def _pad(data: Tensor, places: Tensor, sizes: tuple[int, int]) -> Tensor:
    """(sum of lengths, I) to (T, B, I), zero past the ends.

    torch's own way, a copy for every step forward and back, takes as long as the kernels do.
    """
    if _context.quiet():
        return _Pad.apply(data, places, sizes)  # type: ignore[no-any-return]
    # transforms and forward-mode derivatives know torch's operations, but not a Function
    empty = data.new_zeros((sizes[0] * sizes[1], data.shape[1]))
    return empty.index_copy(0, places, data).view(*sizes, -1)


def _unpad(padded: Tensor, places: Tensor) -> Tensor:
    """(T * B, I) to (sum of lengths, I)."""
    if _context.quiet():
        return _Unpad.apply(padded, places)  # type: ignore[no-any-return]
    return padded.index_select(0, places)


class _Pad(torch.autograd.Function):
    """`_pad` with the derivative that is its inverse."""

    @staticmethod
    def forward(ctx: Any, data: Tensor, places: Tensor, sizes: tuple[int, int]) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(places)
        padded = data.new_zeros((sizes[0] * sizes[1], data.shape[1]))
        return padded.index_copy_(0, places, data).view(*sizes, -1)

    @staticmethod
    def backward(ctx: Any, d_padded: Tensor) -> Any:  # type: ignore[override]
        return _Unpad.apply(d_padded.flatten(0, 1), *ctx.saved_tensors), None, None


class _Unpad(torch.autograd.Function):
    """`_unpad` with the derivative that is its inverse."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, places: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(places)
        ctx.rows = len(padded)
        return padded.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, d_data: Tensor) -> Any:  # type: ignore[override]
        return _Pad.apply(d_data, *ctx.saved_tensors, (1, ctx.rows)).flatten(0, 1), None


def run_torch(module: Any, x: Tensor, hx: Any, lengths: Tensor | None) -> Any:
    """A call that the kernels do not take: torch.nn computes it, or refuses it in its words."""
    forward = module._torch_class.forward
    if lengths is None:
        return forward(module, x, hx)
    batch_first = module.batch_first
    steps = x.shape[1 if batch_first else 0]
    if lengths.is_cpu:
        wrong = (lengths < 0) | (lengths > steps)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise ValueError(
                f"forward: lengths[{row}] has value {int(lengths[row])}, expected 0 to T = {steps}"
            )
    lengths = lengths.cpu().clamp(0, steps)  # torch packs on the host; a GPU's are cut off
    # rows of no steps, which torch cannot pack, take one whose results are dropped
    packed = pack_padded_sequence(x, lengths.clamp(min=1), batch_first, enforce_sorted=False)
    y, after = forward(module, packed, hx)
    total = x.shape[1 if batch_first else 0]
    y = pad_packed_sequence(y, batch_first, total_length=total)[0]
    none = (lengths == 0).to(x.device)
    if not bool(none.any()):
        return y, after
    y = y.masked_fill(none[:, None, None] if batch_first else none[None, :, None], 0)
    pairs = zip(_tuple(after), _tuple(hx) or (None, None), strict=False)
    after = tuple(
        torch.where(none[None, :, None], torch.zeros_like(a) if h is None else h, a)
        for a, h in pairs
    )
    return y, after if module.mode == "LSTM" else after[0]


def _tuple(hx: Any) -> tuple[Any, ...]:
    return tuple(hx) if isinstance(hx, (tuple, list)) else () if hx is None else (hx,)


def _permuted(hx: Any, order: Tensor | None) -> Any:
    if order is None:
        return hx
    if isinstance(hx, (tuple, list)):
        return tuple(state.index_select(1, order) for state in hx)
    return hx.index_select(1, order)
