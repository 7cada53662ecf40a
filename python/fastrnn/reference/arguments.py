"""The table of cells, and one check of everything a caller hands in."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .gru import GRU
from .lstm import LSTM
from .rnn import RNN


class Cell(Protocol):
    """What the scan asks of a cell: two counts and two functions."""

    gates: int
    states: int

    def step_forward(
        self, x: np.ndarray, state: list[np.ndarray], weights: list[np.ndarray]
    ) -> tuple[list[np.ndarray], tuple[Any, ...]]: ...

    def step_backward(
        self, saved: tuple[Any, ...], d_next: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]: ...


CELLS: dict[str, Cell] = {
    "lstm": LSTM(),
    "gru": GRU(),
    "rnn_tanh": RNN("tanh"),
    "rnn_relu": RNN("relu"),
    "linear": RNN("linear"),
}


def group_parameters(
    cell: str, params: list[np.ndarray], L: int, D: int, bias: bool, dtype: np.dtype
) -> list[list[np.ndarray]]:
    """Split the flat list into [weight_ih, weight_hh, bias_ih, bias_hh] per scan, biases 0 if none.

    Raises ValueError for an unknown cell, a wrong number of arrays or a wrong shape.
    """
    if cell not in CELLS:
        raise ValueError(f"reference: cell is {cell!r}, expected one of {', '.join(CELLS)}")
    per_scan = 4 if bias else 2
    if L < 1 or len(params) != L * D * per_scan:
        raise ValueError(
            f"reference: params has {len(params)} arrays, expected num_layers * num_directions * "
            f"{per_scan} = {L} * {D} * {per_scan} = {L * D * per_scan} with bias={bias}"
        )
    arrays = [np.asarray(p, dtype) for p in params]
    if arrays[0].ndim != 2 or arrays[1].ndim != 2:
        raise ValueError(
            f"reference: weight_ih and weight_hh have shapes {arrays[0].shape} and "
            f"{arrays[1].shape}, expected two axes each"
        )
    (rows, H), input_size = arrays[1].shape, arrays[0].shape[1]
    G = CELLS[cell].gates
    weights = []
    for scan in range(L * D):
        group = arrays[scan * per_scan : (scan + 1) * per_scan]
        expected = [(G * H, input_size if scan < D else D * H), (G * H, H), (G * H,), (G * H,)]
        for name, array, shape in zip(_NAMES, group, expected, strict=False):
            _require(f"{name} of layer {scan // D} direction {scan % D}", array, shape)
        weights.append(group if bias else [*group, np.zeros(rows, dtype), np.zeros(rows, dtype)])
    return weights


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def checked(
    cell: str,
    weights: list[list[np.ndarray]],
    x: np.ndarray,
    h_0: np.ndarray | None,
    c_0: np.ndarray | None,
    lengths: np.ndarray | None,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Lengths and fresh copies of the initial states, filled in where not given.

    Raises ValueError for shapes that do not fit the weights or lengths outside [0, T].
    """
    if x.ndim != 3 or x.shape[2] != weights[0][0].shape[1]:
        raise ValueError(
            f"reference: x has shape {x.shape}, expected three axes of which the last is "
            f"weight_ih.shape[1] = {weights[0][0].shape[1]}"
        )
    (T, B, _), H = x.shape, weights[0][1].shape[1]
    row_lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    _require("lengths", row_lengths, (B,))
    if B and not 0 <= row_lengths.min() <= row_lengths.max() <= T:
        raise ValueError(
            f"reference: lengths has values in [{row_lengths.min()}, {row_lengths.max()}], "
            f"expected [0, T] = [0, {T}]"
        )
    if c_0 is not None and CELLS[cell].states < 2:
        raise ValueError(f"reference: c_0 is given, but cell {cell!r} has the one state h")
    states = []
    for name, given in [("h_0", h_0), ("c_0", c_0)][: CELLS[cell].states]:
        shape = (len(weights), B, H)
        state = np.zeros(shape, x.dtype) if given is None else np.array(given, x.dtype)
        _require(name, state, shape)
        states.append(state)
    return row_lengths, states


def _require(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"reference: {name} has shape {array.shape}, expected {shape}")
