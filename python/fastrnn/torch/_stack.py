"""What the kernels are told of a module: cell, sizes, dtype, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from .. import _core
from .._problem import Problem

_WIDE_BYTES = 1 << 20
_RECORDED_BYTES = 100 << 10
DTYPES = {torch.float32: "float32", torch.float64: "float64"}
DEVICE_DTYPES = DTYPES | {torch.bfloat16: "bfloat16", torch.float16: "float16"}  # on a GPU


class _Bfloat16:
    """Stands where `Problem` has a dtype: NumPy has none of this kind."""

    itemsize = 2

    def __str__(self) -> str:
        return "bfloat16"


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
        return [torch.Size(shape) for shape in self.problem.parameter_shapes().values()]

    @cached_property
    def sized(self) -> list[tuple[torch.Size, int]]:
        """Shape and bytes of each parameter, in torch's order."""
        return [(shape, shape.numel() * self.itemsize) for shape in self.shapes]

    @cached_property
    def param_bytes(self) -> int:
        """Of all parameters."""
        return sum(count for _, count in self.sized)

    @cached_property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return self.dtype.itemsize

    @cached_property
    def records_steps(self) -> bool:
        """Whether one step and its backward take less time here than in torch.nn."""
        return self.cell in ("lstm", "gru") and self.param_bytes <= _RECORDED_BYTES

    @cached_property
    def is_wide(self) -> bool:
        """Whether the parameters leave the first caches: reading them outlasts a short call."""
        return self.param_bytes > _WIDE_BYTES

    def too_short(self, steps: int, rows: int) -> bool:
        """Whether the call is over before its parameters have been compared with the packed ones.

        torch.nn's LSTM layer is slower still. `bench probe torch-overhead` has such calls.
        """
        return self.is_wide and steps <= 4 and rows < 12 and steps * rows <= 12

    @cached_property
    def float64(self) -> bool:
        """Whether numbers have 8 bytes."""
        return self.dtype == torch.float64

    @cached_property
    def problem(self) -> Problem:
        """The same for the engine."""
        sizes = (self.cell, self.input_size, self.hidden_size, self.layers)
        narrow = self.dtype is torch.bfloat16
        dtype: Any = _Bfloat16() if narrow else np.dtype(DEVICE_DTYPES[self.dtype])
        return Problem(*sizes, self.directions == 2, self.bias, False, 0.0, dtype)

    def reserve_bytes(self, steps: Any, rows: Any, alive: Any) -> Any:
        """Bytes of the reserve; ints, or symbols of a compiler."""
        for_each, for_alive, for_row = self._reserve_costs
        return steps * rows * for_each + alive * for_alive + rows * for_row

    @cached_property
    def _reserve_costs(self) -> tuple[int, int, int]:
        """Bytes for each (step, row), each that is computed, and each row: the sum is linear."""
        problem = self.problem
        return (
            problem.reserve_bytes(1, 1, 0) - problem.reserve_bytes(0, 1, 0),
            problem.reserve_bytes(0, 0, 1),
            problem.reserve_bytes(0, 1, 0),
        )

    def pack(self, addresses: tuple[int, ...]) -> _core.Packed:
        """A snapshot of the parameters at these addresses."""
        sizes = (self.input_size, self.hidden_size, self.layers, self.directions)
        name: Any = DTYPES[self.dtype]
        return _core.pack_at(self.cell, name, addresses, *sizes, self.bias)


stack_of = lru_cache(maxsize=1024)(Stack)


class Sizes:
    """What follows from the shape of an input (T, B, I), or (B, T, I): the same for calls alike."""

    __slots__ = (
        "batch_first",
        "reserve_bytes",
        "rows",
        "stack",
        "state",
        "state_bytes",
        "steps",
        "x_bytes",
        "x_shape",
        "x_strides",
        "y",
        "y_bytes",
        "y_strides",
    )

    def __init__(self, stack: Stack, batch_first: bool, x_shape: torch.Size) -> None:
        first, second, inputs = self.x_shape = x_shape
        steps, rows = (second, first) if batch_first else (first, second)
        width = stack.width
        self.stack, self.batch_first, self.steps, self.rows = stack, batch_first, steps, rows
        self.y = (first, second, width)
        self.state = (stack.scans, rows, stack.hidden_size)
        # of steps and of rows, as the engine wants them, for arrays in C order
        self.x_strides = (inputs, steps * inputs) if batch_first else (rows * inputs, inputs)
        self.y_strides = (width, steps * width) if batch_first else (rows * width, width)
        self.x_bytes = first * second * inputs * stack.itemsize
        self.y_bytes = first * second * width * stack.itemsize
        self.state_bytes = stack.scans * rows * stack.hidden_size * stack.itemsize
        self.reserve_bytes = stack.reserve_bytes(steps, rows, steps * rows)  # without lengths


class Options(NamedTuple):
    """What a call says beside its tensors."""

    stack: Stack
    batch_first: bool
    dropout: float  # 0 unless masks are drawn
    seed: Any  # an int, or for `second` of an operator a tensor that holds it; on a GPU the masks
