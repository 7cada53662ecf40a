"""The named problems: which shapes are timed, why each is there, and the data they are timed on.

A problem is a cell, a mode and a shape: (B, T, I, H), L layers, D directions, in float32.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.shapes import GRID, SHAPES, SWEEP, Shape, size_label

__all__ = ["GATES", "GRID", "MODES", "SHAPES", "SWEEP", "Inputs", "Problem", "Shape"]

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
"""Row blocks of the weights per cell, in PyTorch's orders: i f g o; r z n; one (tanh)."""

REFERENCE_CELLS = {"lstm": "lstm", "gru": "gru", "rnn": "rnn_tanh"}
"""The same cells as ``fastrnn.reference`` names them."""

MODES = ("inference", "training", "stream")
"""``inference``: forward alone. ``training``: forward, then backward to x and every weight.
``stream``: forward, one call a step, the state carried from call to call; times are per step."""


@dataclass(frozen=True)
class Problem:
    """One cell in one mode at one shape."""

    cell: str
    mode: str
    B: int
    T: int
    I: int
    H: int
    L: int = 1
    D: int = 1
    dtype: str = "float32"  # of everything; or float64, which a probe times
    subnormal: bool = False  # x, states and d_y below the smallest normal number, no biases
    ragged: bool = False  # lengths uniform in 1..T; without it every row has T steps

    @property
    def shape_label(self) -> str:
        return size_label(self.B, self.T, self.I, self.H, self.L, self.D)

    @property
    def name(self) -> str:
        return f"{self.cell}/{self.mode}/{self.shape_label}"

    @property
    def gates(self) -> int:
        return GATES[self.cell]

    @property
    def input_sizes(self) -> list[int]:
        """Width of each layer's input: I, then D*H."""
        return [self.I] + [self.D * self.H] * (self.L - 1)

    @property
    def steps_per_time(self) -> int:
        """Steps that a reported time covers: one in a stream, all of them otherwise."""
        return 1 if self.mode == "stream" else self.T

    @property
    def flops(self) -> int:
        """Matrix-product operations of what a reported time covers; no element-wise work.

        Forward is ``2*B*T*G*H*(I+H)``, summed over layers and directions; a training step is three
        times that (forward, the gradient to the input and previous state, that to the weights).
        """
        per_step = sum(2 * self.B * self.gates * self.H * (I + self.H) for I in self.input_sizes)
        forward = per_step * self.D * self.steps_per_time
        return 3 * forward if self.mode == "training" else forward

    @property
    def weight_names(self) -> list[str]:
        """PyTorch's names, in PyTorch's order."""
        return [
            f"{kind}_l{layer}{suffix}"
            for layer in range(self.L)
            for suffix in ("", "_reverse")[: self.D]
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]

    def with_steps(self, T: int) -> Problem:
        """The same problem with another number of steps."""
        return replace(self, T=T)


@dataclass(frozen=True)
class Inputs:
    """Arrays of one problem, in its dtype and C-contiguous, the same for every peer."""

    weights: dict[str, NDArray[Any]]
    """Per layer and direction weight_ih (G*H, I or D*H), weight_hh (G*H, H), biases (G*H,)."""
    x: NDArray[Any]  # (T, B, I)
    h_0: NDArray[Any]  # (L*D, B, H)
    c_0: NDArray[Any] | None  # (L*D, B, H), LSTM only
    d_y: NDArray[Any]  # (T, B, D*H)
    lengths: NDArray[np.int64] | None = None  # (B,) for a ragged problem


def make_inputs(problem: Problem, seed: int = 0) -> Inputs:
    """Draw the arrays of a problem.

    Parameters
    ----------
    problem : Problem
        Decides the shapes; of the modes, a stream begins with states of zeros.
    seed : int
        Seed of the generator. Every process draws the same arrays from the same seed, so none of
        them has to travel between processes.

    Returns
    -------
    Inputs
        Weights and biases uniform in ``[-1/sqrt(H), 1/sqrt(H)]`` (PyTorch's initialisation), x and
        d_y standard normal, states uniform in [-1, 1]: no zeros that a peer could get for free.
        A subnormal problem has zero biases and everything else but the weights scaled by 1e-40.
        A float64 problem has the numbers of the float32 one.

    Examples
    --------
    >>> inputs = make_inputs(Problem("gru", "training", B=2, T=3, I=5, H=7, L=2, D=2))
    >>> inputs.x.shape, inputs.weights["weight_ih_l1_reverse"].shape, inputs.c_0 is None
    ((3, 2, 5), (21, 14), True)
    """
    rng = np.random.default_rng(seed)
    bound = 1 / np.sqrt(problem.H)
    rows = problem.gates * problem.H
    scale = np.float32(1e-40 if problem.subnormal else 1.0)
    dtype = np.dtype(problem.dtype)

    def uniform(*shape: int, bound: float) -> NDArray[Any]:
        return rng.uniform(-bound, bound, shape).astype(np.float32).astype(dtype)

    def normal(*shape: int) -> NDArray[Any]:
        return (rng.standard_normal(shape, dtype=np.float32) * scale).astype(dtype)

    weights = {}
    for name in problem.weight_names:
        layer = int(re.findall(r"_l(\d+)", name)[0])
        columns = {"weight_ih": (problem.input_sizes[layer],), "weight_hh": (problem.H,)}
        array = uniform(rows, *columns.get(name[:9], ()), bound=bound)
        weights[name] = array * 0 if problem.subnormal and name.startswith("bias") else array
    states = (problem.L * problem.D, problem.B, problem.H)
    start = 0.0 if problem.mode == "stream" else 1.0
    h_0 = uniform(*states, bound=start) * scale
    c_0 = uniform(*states, bound=start) * scale if problem.cell == "lstm" else None
    x = normal(problem.T, problem.B, problem.I)
    d_y = normal(problem.T, problem.B, problem.D * problem.H)
    lengths = None
    if problem.ragged:
        lengths = rng.integers(1, problem.T, problem.B, endpoint=True, dtype=np.int64)
        lengths[0] = problem.T  # the batch is as long as its longest row
    return Inputs(weights, x, h_0, c_0, d_y, lengths)


def parse_shape(text: str) -> Shape:
    """A shape from its name (``char-lm``) or its sizes, ``BxTxIxH`` with ``xL2`` and ``xD2``.

    Raises
    ------
    ValueError
        When the text is neither.

    Examples
    --------
    >>> parse_shape("8x200x64x128xL2xD2").L, parse_shape("4x10x16x32").L
    (2, 1)
    """
    known = (*SHAPES, *SWEEP)
    named = {shape.name: shape for shape in known} | {shape.label: shape for shape in GRID}
    if text in named:
        return named[text]
    found = re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)(?:xL(\d+))?(?:xD([12]))?", text)
    sizes = [int(size) for size in found.groups(default="1")] if found else [0]
    if min(sizes) < 1:
        names = ", ".join(shape.name for shape in SHAPES)
        raise ValueError(
            f"bench: shape is {text!r}, expected four positive sizes as BxTxIxH (such as "
            f"32x64x64x128, or 8x200x64x128xL2xD2 for 2 layers in 2 directions) or one of {names}"
        )
    B, T, I, H, L, D = sizes
    modes = MODES if D == 1 else MODES[:2]
    return Shape(text, B, T, I, H, "given on the command line", L=L, D=D, modes=modes)
