"""How quickly the NumPy reference does the same training step, on one thread."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from fastrnn import reference
from fastrnn.training import Adam, Batch, Sequential, clip_grad_norm, cross_entropy
from fastrnn.training._extras import require

__all__ = ["Speed", "reference_speed"]

REPEATS = 3


class Speed(NamedTuple):
    """What was measured."""

    characters: float  # per second
    core: float  # share of one core that the measurement got; below 1 the machine was busy


class ReferenceLayer:
    """A recurrent layer of the chain, computed by ``fastrnn.reference`` instead of the kernels."""

    def __init__(self, layer: Any, cell: str, dtype: np.typing.DTypeLike) -> None:
        self.layer, self.cell, self.dtype = layer, cell, np.dtype(dtype)

    def parameters(self) -> dict[str, np.ndarray]:
        """Those of the layer."""
        found: dict[str, np.ndarray] = self.layer.parameters()
        return found

    def forward(self, x: np.ndarray, state: Any = None) -> tuple[np.ndarray, Any, Any]:
        """As the layer's forward, from zero states, without dropout between layers."""
        parameters = list(self.parameters().values())
        y, _, _, tape = reference.forward(
            self.cell, parameters, x, num_layers=self.layer.num_layers, dtype=self.dtype
        )
        return y.astype(x.dtype), None, tape

    def backward(self, tape: Any, d_y: np.ndarray, d_state: Any = None) -> tuple[Any, Any, Any]:
        """As the layer's backward."""
        d_x, _, _, grads = reference.backward(tape, d_y.astype(self.dtype))
        names = zip(self.parameters(), grads, strict=True)
        return d_x.astype(d_y.dtype), None, {k: g.astype(d_y.dtype) for k, g in names}


def reference_speed(
    model: Sequential, cell: str, batch: Batch, dtype: np.typing.DTypeLike, seconds: float = 1.0
) -> Speed:
    """Characters per second of whole training steps with the reference in place of the kernels.

    The step is that of the run: embedding, recurrent layers, dropout, output layer, loss,
    clipping, Adam (on copies of the parameters), with BLAS on one thread as in the run itself (more
    lose time in products this small). The window is shortened so that one step takes about
    ``seconds``; what is done once per window counts as often as in the full window. The median of
    three steps counts.

    Parameters
    ----------
    model : Sequential
        From :func:`build_model`; not changed.
    cell : str
        ``"lstm"``, ``"gru"`` or ``"rnn"``.
    batch : Batch
        A window of the run.
    dtype : float32 or float64
        Arithmetic of the reference's loop.

    Returns
    -------
    Speed
    """
    pieces = dict(model.pieces)
    name = "rnn_tanh" if cell == "rnn" else cell
    pieces["rnn"] = ReferenceLayer(pieces["rnn"], name, dtype)
    chain = Sequential(**pieces)
    copies = {k: v.copy() for k, v in chain.parameters().items()}
    optimizer = Adam(copies)
    rng_state = model.rng_state()

    def step(length: int) -> tuple[float, float]:
        """Seconds of the pass through the window, and of what is done once per window."""
        started = time.perf_counter()
        y, _, tape = chain.forward(batch.x[:length])
        _, d_y = cross_entropy(y, batch.target[:length])
        grads = chain.backward(tape, d_y)[-1]
        passed = time.perf_counter()
        clip_grad_norm(grads, 1.0)
        optimizer.step(grads)
        return passed - started, time.perf_counter() - passed

    full, width = batch.x.shape
    control = require("threadpoolctl", "reference_speed")
    with control.threadpool_limits(1, user_api="blas"):
        step(2)  # warms caches
        length = min(full, 4)
        once, _ = step(length)
        length = int(np.clip(seconds * length / once, length, full))
        wall, core = time.perf_counter(), time.thread_time()
        times = [step(length) for _ in range(REPEATS)]
        core, wall = time.thread_time() - core, time.perf_counter() - wall
    model.set_rng_state(rng_state)
    whole = median(window / length + per_window / full for window, per_window in times)
    return Speed(width / whole, core / wall)
