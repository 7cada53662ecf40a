"""What is computed, without arrays: the cell, the sizes, the parameters by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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
