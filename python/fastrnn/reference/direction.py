"""One direction of one layer over time: the loop that is the recurrence.

Row b is computed only at the steps t < lengths[b]; at the others its state stays and its output
is 0. So a forward scan ends, and a reverse scan starts, at the row's true end, and nothing that
lies in the padding is ever read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import Cell

Steps = list[tuple[int, np.ndarray, tuple[Any, ...]]]
"""For each step in the order taken: t, the rows computed, what the cell saved."""


def scan_forward(
    cell: Cell,
    weights: list[np.ndarray],
    x: np.ndarray,
    state: list[np.ndarray],
    lengths: np.ndarray,
    reverse: bool,
) -> tuple[np.ndarray, Steps]:
    """Every step of the loop.

    Parameters
    ----------
    cell : Cell
    weights : [weight_ih, weight_hh, bias_ih, bias_hh]
    x : (T, B, I)
    state : list of (B, H)
        The initial state; advanced in place to each row's end.
    lengths : (B,) int
    reverse : bool
        Whether t runs from T-1 down to 0.

    Returns
    -------
    y : (T, B, H)
    steps : Steps
    """
    T, B, _ = x.shape
    y = np.zeros((T, B, state[0].shape[1]), x.dtype)
    steps: Steps = []
    for t in reversed(range(T)) if reverse else range(T):
        rows = np.flatnonzero(t < lengths)
        next_state, saved = cell.step_forward(x[t, rows], [s[rows] for s in state], weights)
        for s, s_next in zip(state, next_state, strict=True):
            s[rows] = s_next
        y[t, rows] = next_state[0]
        steps.append((t, rows, saved))
    return y, steps


def scan_backward(
    cell: Cell,
    weights: list[np.ndarray],
    steps: Steps,
    d_y: np.ndarray,
    d_state: list[np.ndarray],
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The steps undone, last first.

    Parameters
    ----------
    cell, weights, steps
        As given to and returned by `scan_forward`.
    d_y : (T, B, H)
    d_state : list of (B, H)
        Gradient arriving at the final state; carried back in place to the initial state.

    Returns
    -------
    d_x : (T, B, I)
    d_weights : list
        One array for each of `weights`.
    """
    d_x = np.zeros((*d_y.shape[:2], weights[0].shape[1]), d_y.dtype)
    d_weights = [np.zeros_like(w) for w in weights]
    for t, rows, saved in reversed(steps):
        d_next = [d[rows] for d in d_state]
        d_next[0] += d_y[t, rows]  # h' leaves the step twice: as the output and as the state
        d_x[t, rows], d_prev, shares = cell.step_backward(saved, d_next)
        for d, d_p in zip(d_state, d_prev, strict=True):
            d[rows] = d_p
        for total, share in zip(d_weights, shares, strict=True):
            total += share
    return d_x, d_weights
