"""Rows of different lengths: `lengths=`, PackedSequence, and both for calls that torch.nn runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ._why import why_not


def checked(call: str, x: Tensor, lengths: Any, batch_first: bool) -> Tensor:
    """Return lengths as a (B,) int64 tensor in CPU memory; the engine looks at the values."""
    if x.dim() != 3:
        raise ValueError(
            f"{call}: lengths is given but input has {x.dim()} dimensions, expected 3; "
            f"one sequence has nothing to pad, pass input[:n]"
        )
    found = lengths if isinstance(lengths, Tensor) else torch.as_tensor(lengths)
    rows = x.shape[0 if batch_first else 1]
    if found.is_floating_point() or found.is_complex() or found.dtype is torch.bool:
        raise TypeError(f"{call}: lengths has dtype {found.dtype}, expected integers")
    if tuple(found.shape) != (rows,):
        raise ValueError(
            f"{call}: lengths has shape {tuple(found.shape)}, expected (B,) = ({rows},)"
        )
    return found.to(device="cpu", dtype=torch.int64).contiguous()


def run_packed(module: Any, packed: PackedSequence, hx: Any, lengths: Any) -> Any:
    """A call of a module with a PackedSequence: it comes back as one."""
    if lengths is not None:
        raise ValueError(
            f"{type(module).__name__}: lengths is given with a PackedSequence, expected one of the "
            f"two; the sequence knows its lengths"
        )
    data, batch_sizes, sorted_indices, unsorted_indices = packed
    params = module._weights()
    sorted_packed = PackedSequence(data, batch_sizes, None, None)
    padded, steps = pad_packed_sequence(sorted_packed)
    states = hx if hx is None else _permuted(hx, sorted_indices)
    if why_not(module, padded, states, params, False) is not None:
        return module._torch_class.forward(module, packed, hx)
    pair = states if module.mode == "LSTM" and states is not None else (states, None)
    y, hx = module._run(padded, pair, params, steps, False)
    rows = pack_padded_sequence(y, steps).data
    found = PackedSequence(rows, batch_sizes, sorted_indices, unsorted_indices)
    return found, _permuted(hx, unsorted_indices)


def run_torch(module: Any, x: Tensor, hx: Any, lengths: Tensor | None) -> Any:
    """A call that the kernels do not take: torch.nn computes it, or refuses it in its words."""
    forward = module._torch_class.forward
    if lengths is None:
        return forward(module, x, hx)
    batch_first = module.batch_first
    packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    y, hx = forward(module, packed, hx)
    total = x.shape[1 if batch_first else 0]
    return pad_packed_sequence(y, batch_first, total_length=total)[0], hx


def _permuted(hx: Any, order: Tensor | None) -> Any:
    if order is None:
        return hx
    if isinstance(hx, (tuple, list)):
        return tuple(state.index_select(1, order) for state in hx)
    return hx.index_select(1, order)
