"""What is computed, without arrays: the cell, the sizes, the parameters by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """A stack of recurrent layers. Gate and state counts come from the compiled cells."""

    cell: str
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    bias: bool
    batch_first: bool
    dropout: float
    dtype: np.dtype[Any]
    num_directions: int = field(init=False)
    gates: int = field(init=False)
    states: int = field(init=False)

    def __post_init__(self) -> None:
        counts = _core.cells()[self.cell]
        for name, value in (
            ("num_directions", 2 if self.bidirectional else 1),
            ("gates", counts["gates"]),
            ("states", counts["states"]),
        ):
            object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what was worked out for this machine."""
        return {name: value for name, value in self.__dict__.items() if name != "_forward_costs"}

    @property
    def num_scans(self) -> int:
        """L*D, the first axis of every state."""
        return self.num_layers * self.num_directions

    @property
    def output_size(self) -> int:
        """D*H, the last axis of y."""
        return self.num_directions * self.hidden_size

    @property
    def num_parameters(self) -> int:
        """Numbers in all parameters together, without listing them."""
        rows = self.gates * self.hidden_size
        inputs = self.input_size + (self.num_layers - 1) * self.output_size
        per_scan = self.hidden_size + (2 if self.bias else 0)
        return self.num_directions * rows * (inputs + self.num_layers * per_scan)

    @cached_property
    def _forward_costs(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Bytes of a call for each (step, row), each such pair that is computed, and each row.

        First in inference, then in training. What the input product runs ahead is left out: a few
        MB that depend on the plan.
        """
        state, saved = _core.strides(self.cell, self.dtype == np.float64, self.hidden_size)
        order = 2 * 8  # of the rows, for each step and for each row
        results = self.num_scans * self.states * self.hidden_size

        def costs(inputs: int, kept: int, room: int) -> tuple[int, int, int]:
            size = self.dtype.itemsize
            return (
                (1 + inputs) * self.output_size * size,
                kept * size,
                (results + room) * size + order,
            )

        room = self.num_directions * (self.states + 2) * state  # initial states, h of two steps
        kept = self.num_scans * (self.states * state + saved)
        return (
            costs(min(self.num_layers - 1, 2), 0, room),
            costs(self.num_layers - 1, kept, self.num_scans * self.states * state),
        )

    def forward_bytes(
        self, steps: int, rows: int, alive: int, training: bool, recompute: int = 0
    ) -> int:
        """Memory of a forward call: its results, workspaces and, in training, the tape.

        `alive` is the number of (step, row) pairs that are computed: the sum of the lengths. A call
        that recomputes keeps what inference takes and the inputs of all layers; its segments are
        left out, so it takes a little more.
        """
        if training and recompute:
            kept = max(self.num_layers - 1 - 2, 0) * steps * rows * self.output_size
            return self.forward_bytes(steps, rows, alive, False) + kept * self.dtype.itemsize
        for_each, for_alive, for_row = self._forward_costs[training]
        longest = -(-alive // rows) if rows else 0  # or more
        return steps * rows * for_each + alive * for_alive + rows * for_row + longest * 2 * 8

    def reserve_bytes(self, steps: int, rows: int, alive: int) -> int:
        """Memory of what a training forward keeps for backward; `alive` as in `forward_bytes`.

        Products and sums alone: the sizes may be symbols of a compiler.
        """
        state, saved = _core.strides(self.cell, self.dtype == np.float64, self.hidden_size)
        scans = rows * self.states * state + alive * (self.states * state + saved)
        inputs = (self.num_layers - 1) * self.output_size
        return (self.num_scans * scans + inputs * steps * rows) * self.dtype.itemsize

    def backward_bytes(self, steps: int, rows: int) -> int:
        """Memory of the gradients that a backward call returns and passes between layers."""
        inputs = min(self.num_layers - 1, 2) * steps * rows * self.output_size
        states = self.num_scans * rows * self.states * self.hidden_size
        gradients = steps * rows * self.input_size + states + self.num_parameters
        return (inputs + gradients) * self.dtype.itemsize

    def parameter_shapes(self) -> dict[str, Shape]:
        """Name and shape of every parameter, in torch's order."""
        return dict(self._parameters())

    def _parameters(self) -> Iterator[tuple[str, Shape]]:
        rows = self.gates * self.hidden_size
        for layer in range(self.num_layers):
            inputs = self.input_size if layer == 0 else self.output_size
            for direction in range(self.num_directions):
                suffix = f"_l{layer}" + ("_reverse" if direction else "")
                yield f"weight_ih{suffix}", (rows, inputs)
                yield f"weight_hh{suffix}", (rows, self.hidden_size)
                if self.bias:
                    yield f"bias_ih{suffix}", (rows,)
                    yield f"bias_hh{suffix}", (rows,)

    def pack(self, params: list[Array], previous: _core.Packed | None) -> _core.Packed:
        """A snapshot of the parameters for the kernels; `previous` itself if it is still right."""
        return _core.pack(
            self.cell,
            params,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.num_directions,
            self.bias,
            previous,
        )
