"""The operators under torch.vmap.

A forward with shared parameters is one call: the new axis joins the rows. Calls that cannot share
one, with parameters of their own (ensembles) or masks of their own, run one after the other. So do
backward calls, whose gradients of the parameters differ from example to example: the forward of
each is run again, because a joined reserve cannot be taken apart.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def _front(tensor: Tensor | None, axis: int | None, size: int) -> Tensor | None:
    """The tensor with the new axis in front, whether it had one or not."""
    if tensor is None:
        return None
    return (
        tensor.unsqueeze(0).expand(size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
    )


def _one(tensor: Any, axis: Any, index: int) -> Any:
    """Example `index` of an argument; a list of tensors has a list of axes."""
    if isinstance(tensor, (list, tuple)):
        return [_one(t, a, index) for t, a in zip(tensor, axis, strict=True)]
    return tensor if axis is None or tensor is None else tensor.select(axis, index)


def _examples(size: int, axes: Any, arguments: Any, count: int) -> Any:
    """The first `count` arguments, example by example."""
    for index in range(size):
        given = zip(arguments[:count], axes[:count], strict=True)
        yield tuple(_one(tensor, axis, index) for tensor, axis in given)


def _join(tensor: Tensor, axis: int) -> Tensor:
    """(N, ..., B, ...) with B at `axis` of one example -> (..., N*B, ...)."""
    return tensor.movedim(0, axis).flatten(axis, axis + 1)


def _part(tensor: Tensor, axis: int, size: int) -> Tensor:
    """The inverse of `_join`."""
    return tensor.unflatten(axis, (size, -1)).movedim(axis, 0)


def scan(call: Any, info: Any, in_dims: Any, *arguments: Any) -> Any:
    """The batching rule of `call`, which is fastrnn::scan or stands for it."""
    x, h_0, c_0, params, lengths, seed, *form, keep = arguments
    size, axes = info.batch_size, in_dims
    if any(axis is not None for axis in axes[3]) or seed is not None:
        tail = (*form, keep)
        found = [call(*a, *tail) for a in _examples(size, axes, arguments, 6)]
        return tuple(torch.stack(parts) for parts in zip(*found, strict=True)), (0, 0, 0, 0)
    rows = 0 if form[3] else 1
    x, h_0, c_0, lengths = (
        _front(tensor, axis, size)
        for tensor, axis in zip((x, h_0, c_0, lengths), (*axes[:3], axes[4]), strict=True)
    )
    joined = (
        _join(x, rows),
        None if h_0 is None else _join(h_0, 1),
        None if c_0 is None else _join(c_0, 1),
        params,
        None if lengths is None else _join(lengths, 0),
        None,
    )
    y, h_n, c_n, reserve = call(*joined, *form, keep)
    c_axis = 0 if c_n.dim() == 3 else None
    c_n = _part(c_n, 1, size) if c_axis == 0 else c_n
    return (_part(y, rows, size), _part(h_n, 1, size), c_n, reserve), (0, 0, c_axis, None)


def scan_backward(forward: Any, call: Any, info: Any, in_dims: Any, *arguments: Any) -> Any:
    """The batching rule of `call`, fastrnn::scan_backward, beside its forward."""
    form = arguments[10:]
    # The reserve has no axis of its own though the inputs do: forward joined the examples.
    joined = in_dims[9] is None and any(in_dims[index] is not None for index in (3, 4, 5, 7))
    found = []
    for given in _examples(info.batch_size, in_dims, arguments, 10):
        *gradients_and_inputs, reserve = given
        if joined:
            reserve = forward(*gradients_and_inputs[3:], *form, True)[3]
        found.append(call(*gradients_and_inputs, reserve, *form))
    d_x, d_h_0, d_c_0, d_params = zip(*found, strict=True)
    stacked = [torch.stack(parts) for parts in zip(*d_params, strict=True)]
    out = (torch.stack(d_x), torch.stack(d_h_0), torch.stack(d_c_0), stacked)
    return out, (0, 0, 0, [0] * len(stacked))
