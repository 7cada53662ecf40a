"""Forward and backward of the engine over torch tensors: addresses in, no copy, no autograd.

Eager modules and the operators of `torch.library` both end here. What arrives has been looked at:
float32 or float64 tensors in CPU memory whose shapes fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _core
from .._problem import Problem

DTYPES = {torch.float32: "float32", torch.float64: "float64"}
# From here on a result lives in the engine's recycled memory (decision 0010); below, torch's own
# allocator is quicker than two hand-overs.
_RECYCLED_BYTES = 1 << 18
_ABSENT = (0, 0, 0)
_NOTHING = (0, 0)


@dataclass(frozen=True)
class Stack:
    """What does not change from call to call."""

    cell: str
    input_size: int
    hidden_size: int
    layers: int
    directions: int
    bias: bool
    dtype: torch.dtype

    @cached_property
    def scans(self) -> int:
        """L*D, the first axis of every state."""
        return self.layers * self.directions

    @cached_property
    def width(self) -> int:
        """D*H, the last axis of y."""
        return self.directions * self.hidden_size

    @cached_property
    def has_c(self) -> bool:
        """Whether the state is (h, c)."""
        return self.cell == "lstm"

    @cached_property
    def shapes(self) -> list[torch.Size]:
        """Of the parameters, in torch's order."""
        return [torch.Size(shape) for shape in self._problem.parameter_shapes().values()]

    @cached_property
    def float64(self) -> bool:
        """Whether numbers have 8 bytes."""
        return self.dtype == torch.float64

    @cached_property
    def _problem(self) -> Problem:
        sizes = (self.cell, self.input_size, self.hidden_size, self.layers)
        dtype = np.dtype(DTYPES[self.dtype])
        return Problem(*sizes, self.directions == 2, self.bias, False, 0.0, dtype)

    def reserve_bytes(self, steps: Any, rows: Any, alive: Any) -> Any:
        """Bytes of the reserve; ints, or symbols of a compiler."""
        return self._problem.reserve_bytes(steps, rows, alive)

    def pack(self, addresses: tuple[int, ...]) -> _core.Packed:
        """A snapshot of the parameters at these addresses."""
        sizes = (self.input_size, self.hidden_size, self.layers, self.directions)
        name: Any = DTYPES[self.dtype]
        return _core.pack_at(self.cell, name, addresses, *sizes, self.bias)


stack_of = lru_cache(maxsize=1024)(Stack)


def plain(tensor: Tensor) -> Tensor:
    """The tensor with its elements in C order, as they are in memory."""
    if tensor.is_neg():  # a view that says "negated" and leaves its memory alone
        tensor = tensor.resolve_neg()
    return tensor if tensor.is_contiguous() else tensor.contiguous()


def readable(params: Sequence[Tensor]) -> Sequence[Tensor]:
    """The parameters with their elements in C order; the same ones if they are."""
    for param in params:
        if not param.is_contiguous() or param.is_neg():
            return [plain(p) for p in params]
    return params


def addresses_of(params: Sequence[Tensor]) -> tuple[int, ...]:
    """Where readable parameters lie. Whoever asks holds them for as long."""
    found = tuple([p.data_ptr() for p in params])
    if 0 in found:
        raise RuntimeError(
            "fastrnn.torch: a parameter has no memory, expected its numbers; materialise it first"
        )
    return found


def _rows(tensor: Tensor, batch_first: bool) -> tuple[Tensor, tuple[int, int, int]]:
    """A sequence as the engine reads it: address, strides of steps and rows; a copy if need be."""
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if tensor.stride(2) != 1 and tensor.size(2) != 1:
        tensor = tensor.contiguous()
    outer, inner, _ = tensor.stride()
    strides = (inner, outer) if batch_first else (outer, inner)
    return tensor, (tensor.data_ptr(), *strides)


def _room(stack: Stack, *shape: int) -> Tensor:
    """Memory for a result."""
    count = 1
    for length in shape:
        count *= length
    if count * (8 if stack.float64 else 4) < _RECYCLED_BYTES:
        return torch.empty(shape, dtype=stack.dtype)
    return torch.from_numpy(_core.empty(stack.float64, shape))


def reserve_room(count: int) -> Tensor:
    """Memory for a reserve of so many bytes, as bytes: no gradient can be asked of them."""
    if count < _RECYCLED_BYTES:
        return torch.empty(count, dtype=torch.uint8)
    return torch.from_numpy(_core.empty(False, (-(-count // 4),)).view(np.uint8)[:count])


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def run_forward(
    stack: Stack,
    packed: _core.Packed | None,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    params: Sequence[Tensor],
    lengths: Tensor | None,
    seed: int,
    batch_first: bool,
    dropout: float,
    reserve: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None, _core.Packed]:
    """Run the stack over x (T, B, I), or (B, T, I): y, h_n, c_n and the packed weights.

    `packed` is what an earlier call returned: it is used if its contents are still those of
    `params`, whoever wrote to them. With a reserve, what backward reads goes there.
    """
    first, second, _ = x.shape
    steps, rows = (second, first) if batch_first else (first, second)
    x, x_rows = _rows(x, batch_first)
    h_0 = None if h_0 is None else plain(h_0)
    c_0 = None if c_0 is None else plain(c_0)
    width = stack.width
    y = _room(stack, first, second, width)
    h_n = _room(stack, stack.scans, rows, stack.hidden_size)
    c_n = _room(stack, stack.scans, rows, stack.hidden_size) if stack.has_c else None
    strides = (width, steps * width) if batch_first else (rows * width, width)
    params = readable(params)
    addresses = addresses_of(params)
    if packed is None:
        packed = stack.pack(addresses)
    packed = _core.forward_at(
        packed,
        addresses,
        (steps, rows),
        x_rows,
        _address(h_0),
        _address(c_0),
        _address(lengths),
        (y.data_ptr(), *strides),
        h_n.data_ptr(),
        _address(c_n),
        reserve is not None,
        _NOTHING if reserve is None else (reserve.data_ptr(), reserve.numel()),
        dropout,
        seed,
    )
    return y, h_n, c_n, packed


def run_step(
    stack: Stack,
    packed: _core.Packed | None,
    x: Tensor,
    h: Tensor | None,
    c: Tensor | None,
    params: Sequence[Tensor],
    reserve: Tensor | None,
) -> tuple[Tensor, Tensor | None, _core.Packed]:
    """One step of one layer over x (B, I): the next h and c, and the packed weights."""
    x = plain(x)
    h = None if h is None else plain(h)
    c = None if c is None else plain(c)
    rows = x.shape[0]
    next_h = torch.empty((rows, stack.hidden_size), dtype=stack.dtype)
    next_c = torch.empty((rows, stack.hidden_size), dtype=stack.dtype) if stack.has_c else None
    params = readable(params)
    addresses = addresses_of(params)
    if packed is None:
        packed = stack.pack(addresses)
    out = next_h.data_ptr()
    packed = _core.forward_at(
        packed,
        addresses,
        (1, rows),
        (x.data_ptr(), 0, stack.input_size),
        0 if h is None else h.data_ptr(),
        0 if c is None else c.data_ptr(),
        0,
        (out, 0, stack.hidden_size),  # y of the one step is h_n: written twice, alike
        out,
        0 if next_c is None else next_c.data_ptr(),
        reserve is not None,
        _NOTHING if reserve is None else (reserve.data_ptr(), reserve.numel()),
        0.0,
        0,
    )
    return next_h, next_c, packed


def run_backward(
    stack: Stack,
    packed: _core.Packed,
    d_y: Tensor | None,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    x: Tensor,
    lengths: Tensor | None,
    seed: int,
    batch_first: bool,
    dropout: float,
    reserve: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None, list[Tensor]]:
    """Gradients of the call that filled the reserve: d_x, d_h_0, d_c_0 and d_params."""
    first, second, inputs = x.shape
    steps, rows = (second, first) if batch_first else (first, second)
    x, x_rows = _rows(x, batch_first)
    d_y_rows = _ABSENT
    if d_y is not None:
        d_y, d_y_rows = _rows(d_y, batch_first)
    d_h_n = None if d_h_n is None else plain(d_h_n)
    d_c_n = None if d_c_n is None else plain(d_c_n)
    reserve = plain(reserve)  # it may have travelled: saved-tensor hooks give copies
    if reserve.data_ptr() % 8:
        reserve = reserve.clone()
    d_x = _room(stack, first, second, inputs)
    d_h_0 = _room(stack, stack.scans, rows, stack.hidden_size)
    d_c_0 = _room(stack, stack.scans, rows, stack.hidden_size) if stack.has_c else None
    d_params = [_room(stack, *shape) for shape in stack.shapes]
    strides = (inputs, steps * inputs) if batch_first else (rows * inputs, inputs)
    _core.backward_at(
        packed,
        (steps, rows),
        x_rows,
        _address(lengths),
        (reserve.data_ptr(), reserve.numel()),
        dropout,
        seed,
        d_y_rows,
        _address(d_h_n),
        _address(d_c_n),
        (d_x.data_ptr(), *strides),
        d_h_0.data_ptr(),
        _address(d_c_0),
        tuple([d.data_ptr() for d in d_params]),
    )
    return d_x, d_h_0, d_c_0, d_params
