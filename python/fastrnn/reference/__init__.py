"""The oracle: every cell, the scan over time and BPTT in plain NumPy, float64 by default.

It imports NumPy only and shares nothing with the compiled engine, so that each can check the other.
It is written to be read and to be obviously right; it is not meant to be quick.

`forward` and `backward` run a stack of layers, `CELLS` maps a cell's name to its formulas
(`LSTM`, `GRU`, `RNN`), `dropout_mask` and `philox4x32` are the random masks.

Examples
--------
>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> T, B, I, H = 5, 2, 3, 4
>>> params = [rng.uniform(-0.5, 0.5, s) for s in [(4 * H, I), (4 * H, H), (4 * H,), (4 * H,)]]
>>> y, h_n, c_n, tape = forward("lstm", params, rng.normal(size=(T, B, I)), lengths=[5, 3])
>>> y.shape, bool((y[3:, 1] == 0).all()), bool((h_n[0, 1] == y[2, 1]).all())
((5, 2, 4), True, True)
>>> d_x, d_h_0, d_c_0, grads = backward(tape, np.ones_like(y))
>>> [g.shape for g in grads]
[(16, 3), (16, 4), (16,), (16,)]
"""

from __future__ import annotations

from .activations import sigmoid
from .arguments import CELLS, Cell
from .gru import GRU
from .lstm import LSTM
from .philox import dropout_mask, philox4x32
from .rnn import RNN
from .scan import backward, forward
from .tape import Tape

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "RNN",
    "Cell",
    "Tape",
    "backward",
    "dropout_mask",
    "forward",
    "philox4x32",
    "sigmoid",
]
