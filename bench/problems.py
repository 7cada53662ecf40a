"""The named problems: which shapes are timed, why each is there, and the data they are timed on.

A problem is a cell, a mode and a shape (B, T, I, H) of one unidirectional float32 layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
"""Row blocks of the weights per cell, in PyTorch's orders: i f g o; r z n; one (tanh)."""

REFERENCE_CELLS = {"lstm": "lstm", "gru": "gru", "rnn": "rnn_tanh"}
"""The same cells as ``fastrnn.reference`` names them."""

MODES = ("inference", "training")
"""``inference``: forward alone. ``training``: forward, then backward to x and every weight."""


@dataclass(frozen=True)
class Shape:
    """A shape that is timed, with the reason it was chosen."""

    name: str
    B: int
    T: int
    I: int
    H: int
    why: str

    @property
    def label(self) -> str:
        return f"{self.B}x{self.T}x{self.I}x{self.H}"


SHAPES = (
    Shape(
        "one-stream", 1, 100, 64, 64,
        "one sequence, weights within L1/L2: per-step overhead decides, threads rarely help",
    ),
    Shape(
        "small-batch", 32, 64, 64, 128,
        "reinforcement learning and forecasting: microseconds per step, so barriers show",
    ),
    Shape(
        "char-lm", 64, 128, 128, 256,
        "a character language model: recurrent weights fill half of a 2 MB L2",
    ),
    Shape(
        "hydrology", 256, 365, 32, 256,
        "a year of daily forcings per row: narrow input, long T, hundreds of MB saved for backward",
    ),
    Shape(
        "deepbench-512", 32, 50, 512, 512,
        "DeepBench's 512-unit size: weights (8 MB for LSTM) stream from L3 at every step",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One cell in one mode at one shape."""

    cell: str
    mode: str
    B: int
    T: int
    I: int
    H: int

    @property
    def shape_label(self) -> str:
        return f"{self.B}x{self.T}x{self.I}x{self.H}"

    @property
    def name(self) -> str:
        return f"{self.cell}/{self.mode}/{self.shape_label}"

    @property
    def gates(self) -> int:
        return GATES[self.cell]

    @property
    def flops(self) -> int:
        """Matrix-product operations of one call; element-wise work is not counted.

        Forward is ``2*B*T*G*H*(I+H)``; a training step is three times that (forward, the gradient
        to the input and previous state, the gradient to the weights).
        """
        forward = 2 * self.B * self.T * self.gates * self.H * (self.I + self.H)
        return forward if self.mode == "inference" else 3 * forward

    def with_steps(self, T: int) -> Problem:
        """The same problem with another number of steps."""
        return replace(self, T=T)


@dataclass(frozen=True)
class Inputs:
    """Arrays of one problem, all float32 and C-contiguous, the same for every peer."""

    weights: dict[str, NDArray[np.float32]]  # weight_ih_l0 (G*H, I), weight_hh_l0 (G*H, H), biases
    x: NDArray[np.float32]  # (T, B, I)
    h_0: NDArray[np.float32]  # (1, B, H)
    c_0: NDArray[np.float32] | None  # (1, B, H), LSTM only
    d_y: NDArray[np.float32]  # (T, B, H)


def make_inputs(problem: Problem, seed: int = 0) -> Inputs:
    """Draw the arrays of a problem.

    Parameters
    ----------
    problem : Problem
        Decides the shapes; the mode does not matter.
    seed : int
        Seed of the generator. Every process draws the same arrays from the same seed, so none of
        them has to travel between processes.

    Returns
    -------
    Inputs
        Weights and biases uniform in ``[-1/sqrt(H), 1/sqrt(H)]`` (PyTorch's initialisation), x and
        d_y standard normal, states uniform in [-1, 1]: no zeros that a peer could get for free.

    Examples
    --------
    >>> inputs = make_inputs(Problem("gru", "training", B=2, T=3, I=5, H=7))
    >>> inputs.x.shape, inputs.weights["weight_hh_l0"].shape, inputs.c_0 is None
    ((3, 2, 5), (21, 7), True)
    """
    rng = np.random.default_rng(seed)
    bound = 1 / np.sqrt(problem.H)
    rows = problem.gates * problem.H

    def uniform(*shape: int, bound: float) -> NDArray[np.float32]:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    weights = {
        "weight_ih_l0": uniform(rows, problem.I, bound=bound),
        "weight_hh_l0": uniform(rows, problem.H, bound=bound),
        "bias_ih_l0": uniform(rows, bound=bound),
        "bias_hh_l0": uniform(rows, bound=bound),
    }
    h_0 = uniform(1, problem.B, problem.H, bound=1.0)
    c_0 = uniform(1, problem.B, problem.H, bound=1.0) if problem.cell == "lstm" else None
    x = rng.standard_normal((problem.T, problem.B, problem.I), dtype=np.float32)
    d_y = rng.standard_normal((problem.T, problem.B, problem.H), dtype=np.float32)
    return Inputs(weights, x, h_0, c_0, d_y)


def parse_shape(text: str) -> Shape:
    """A shape from its name (``char-lm``) or its sizes (``64x128x128x256`` = B x T x I x H).

    Raises
    ------
    ValueError
        When the text is neither.
    """
    named = {shape.name: shape for shape in SHAPES} | {shape.label: shape for shape in SHAPES}
    if text in named:
        return named[text]
    sizes = text.split("x")
    if len(sizes) != 4 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        names = ", ".join(shape.name for shape in SHAPES)
        raise ValueError(
            f"bench: shape is {text!r}, expected four positive sizes as BxTxIxH "
            f"(such as 32x64x64x128) or one of {names}"
        )
    B, T, I, H = map(int, sizes)
    return Shape(text, B, T, I, H, "given on the command line")
