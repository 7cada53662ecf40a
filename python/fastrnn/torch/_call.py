"""Forward and backward of the engine over torch tensors: addresses in, no copy, no autograd.

Eager modules and the operators of `torch.library` both end here. What arrives has been looked at:
float32 or float64 tensors in CPU memory whose shapes fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .. import _core
from ._stack import Sizes, Stack
from ._weights import Addresses, Held, addresses_of, plain, readable

# From here on a result lives in the engine's recycled memory (decision 0010); below, torch's own
# allocator is quicker than two hand-overs.
_RECYCLED_BYTES = 1 << 18
_ABSENT = (0, 0, 0)

# Where x lies, its strides of steps and of rows, and where h_0 and c_0 lie, or 0.
Places = tuple[int, int, int, int, int]


def _rows(tensor: Tensor, batch_first: bool) -> tuple[Tensor, tuple[int, int, int]]:
    """A sequence as the engine reads it: address, strides of steps and rows; a copy if need be."""
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    outer, inner, last = tensor.stride()
    if last != 1 and tensor.size(2) != 1:
        tensor = tensor.contiguous()
        outer, inner, _ = tensor.stride()
    strides = (inner, outer) if batch_first else (outer, inner)
    return tensor, (_address(tensor), *strides)


def _room(like: Tensor, stack: Stack, shape: Sequence[int], count: int) -> Tensor:
    """Memory for a result of so many bytes.

    `new_empty` of a tensor in CPU memory, by numbers: half the time of `torch.empty` with a shape,
    a dtype and the device, which must be said there because a default device may be another.
    """
    if count < _RECYCLED_BYTES:
        return like.new_empty(*shape)
    return torch.from_numpy(_core.empty(stack.float64, tuple(shape)))


def reserve_room(like: Tensor, count: int) -> Tensor:
    """Memory for a reserve of so many bytes, as bytes: no gradient can be asked of them."""
    if count < _RECYCLED_BYTES:
        return like.new_empty(count, dtype=torch.uint8)
    return torch.from_numpy(_core.empty(False, (-(-count // 4),)).view(np.uint8)[:count])


def _address(tensor: Tensor | None) -> int:
    """Where it lies; 0 says absent to the engine, so a tensor without memory is refused."""
    if tensor is None:
        return 0
    address = tensor.data_ptr()
    if address == 0 and tensor.numel():
        raise RuntimeError(
            f"fastrnn.torch: a tensor of shape {tuple(tensor.shape)} has no memory, expected its "
            f"numbers; its storage was emptied"
        )
    return address


def run_forward(
    sizes: Sizes,
    held: Held,
    addresses: Addresses | None,
    places: Places | None,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    params: Sequence[Tensor],
    lengths: Tensor | None,
    dropout: float,
    seed: int,
    reserve: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None, _core.Packed]:
    """Run the stack over x (T, B, I), or (B, T, I): y, h_n, c_n and the weights used.

    `held` has the packed weights of an earlier call, which are used if they are still those of
    `params`, and gets those of this one. `addresses` are what it knows of `params`, if it does,
    and `places` what the caller knows of x, h_0 and c_0. With a reserve, what backward reads goes
    there.
    """
    stack = sizes.stack
    if places is None:
        x, x_rows = _rows(x, sizes.batch_first)
        h_0 = None if h_0 is None else plain(h_0)
        c_0 = None if c_0 is None else plain(c_0)
        places = (*x_rows, _address(h_0), _address(c_0))
    if addresses is None:
        params = readable(params)
        addresses = addresses_of(params)
    y = _room(x, stack, sizes.y, sizes.y_bytes)
    h_n = _room(x, stack, sizes.state, sizes.state_bytes)
    c_n = _room(x, stack, sizes.state, sizes.state_bytes) if stack.has_c else None
    call = (
        sizes.steps,
        sizes.rows,
        *places,
        _address(lengths),
        y.data_ptr(),
        *sizes.y_strides,
        h_n.data_ptr(),
        0 if c_n is None else c_n.data_ptr(),
        *((False, 0, 0) if reserve is None else (True, _address(reserve), reserve.numel())),
        dropout,
        seed,
    )
    packed = held.run(_core.forward_at, stack, addresses, call)
    return y, h_n, c_n, packed


def run_step(
    stack: Stack,
    held: Held,
    addresses: Addresses | None,
    x: Tensor,
    h: Tensor | None,
    c: Tensor | None,
    params: Sequence[Tensor],
    reserve: Tensor | None,
) -> tuple[Tensor, Tensor | None, _core.Packed]:
    """One step over x (B, I): the next h and c, and the weights used; see `run_forward`."""
    x = plain(x)
    h = None if h is None else plain(h)
    c = None if c is None else plain(c)
    rows, inputs = x.shape
    width = stack.hidden_size
    next_h = x.new_empty(rows, width)
    next_c = x.new_empty(rows, width) if stack.has_c else None
    if addresses is None:
        params = readable(params)
        addresses = addresses_of(params)
    out = next_h.data_ptr()
    call = (
        1,
        rows,
        _address(x),
        0,
        inputs,
        _address(h),
        _address(c),
        0,
        out,  # y of the one step is h_n: written twice, alike
        0,
        width,
        out,
        0 if next_c is None else next_c.data_ptr(),
        reserve is not None,
        _address(reserve),
        0 if reserve is None else reserve.numel(),
        0.0,
        0,
    )
    packed = held.run(_core.forward_at, stack, addresses, call)
    return next_h, next_c, packed


def run_backward(
    sizes: Sizes,
    packed: _core.Packed,
    d_y: Tensor | None,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    x: Tensor,
    lengths: Tensor | None,
    dropout: float,
    seed: int,
    reserve: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None, list[Tensor]]:
    """Gradients of the call that filled the reserve: d_x, d_h_0, d_c_0 and d_params."""
    stack, batch_first = sizes.stack, sizes.batch_first
    x, x_rows = _rows(x, batch_first)
    d_y_rows = _ABSENT
    if d_y is not None:
        d_y, d_y_rows = _rows(d_y, batch_first)
    d_h_n = None if d_h_n is None else plain(d_h_n)
    d_c_n = None if d_c_n is None else plain(d_c_n)
    reserve = plain(reserve)  # it may have travelled: saved-tensor hooks give copies
    if reserve.data_ptr() % 8:
        reserve = reserve.clone()
    d_x = _room(x, stack, sizes.x_shape, sizes.x_bytes)
    d_h_0 = _room(x, stack, sizes.state, sizes.state_bytes)
    d_c_0 = _room(x, stack, sizes.state, sizes.state_bytes) if stack.has_c else None
    d_params = [_room(x, stack, shape, count) for shape, count in stack.sized]
    _core.backward_at(
        packed,
        sizes.steps,
        sizes.rows,
        *x_rows,
        _address(lengths),
        reserve.data_ptr(),
        reserve.numel(),
        dropout,
        seed,
        *d_y_rows,
        _address(d_h_n),
        _address(d_c_n),
        d_x.data_ptr(),
        *sizes.x_strides,
        d_h_0.data_ptr(),
        _address(d_c_0),
        tuple([d.data_ptr() for d in d_params]),
    )
    return d_x, d_h_0, d_c_0, d_params
