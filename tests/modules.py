"""The public modules under test: how to make each, and everything that one pass computes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from cases import SEED

import fastrnn

Result = dict[str, np.ndarray]

# every class, and both activations of the RNN
LAYERS: dict[str, Any] = {
    "LSTM": fastrnn.LSTM,
    "GRU": fastrnn.GRU,
    "RNN tanh": fastrnn.RNN,
    "RNN relu": partial(fastrnn.RNN, nonlinearity="relu"),
}
CELLS: dict[str, Any] = {
    "LSTMCell": fastrnn.LSTMCell,
    "GRUCell": fastrnn.GRUCell,
    "RNNCell tanh": fastrnn.RNNCell,
    "RNNCell relu": partial(fastrnn.RNNCell, nonlinearity="relu"),
}


def has_c(module: Any) -> bool:
    """Whether the state is the tuple (h, c)."""
    return isinstance(module, (fastrnn.LSTM, fastrnn.LSTMCell))


def normal(shape: tuple[int, ...], dtype: Any = np.float32, key: int = 0) -> np.ndarray:
    """Reproducible normal numbers; another key gives others."""
    return np.random.default_rng([SEED, key]).standard_normal(shape).astype(dtype)


def random_state(module: Any, rows: int | None, key: int = 1) -> Any:
    """A state of a layer, or of a cell; without batch axis if rows is None."""
    shape: tuple[int, ...] = () if rows is None else (rows,)
    if hasattr(module, "num_layers"):
        shape = (module.num_layers * (2 if module.bidirectional else 1), *shape)
    h, c = (normal((*shape, module.hidden_size), module.dtype, key + i) for i in range(2))
    return (h, c) if has_c(module) else h


def state_arrays(state: Any) -> tuple[np.ndarray, ...]:
    """h, or h and c."""
    return state if isinstance(state, tuple) else (state,)


def run(
    module: Any,
    x: np.ndarray,
    state: Any = None,
    lengths: Any = None,
    d_y: np.ndarray | None = None,
    d_state: Any = None,
) -> Result:
    """Outputs and gradients of one training pass of a layer, by name."""
    y, last, tape = module.forward(x, state, lengths)
    d_y = normal(y.shape, y.dtype, 7) if d_y is None else d_y
    d_x, first, grads = module.backward(tape, d_y, d_state)
    result = {"y": y, "d_x": d_x}
    for name, array in zip("hc", state_arrays(last), strict=False):
        result[f"{name}_n"] = array
    for name, array in zip("hc", state_arrays(first), strict=False):
        result[f"d_{name}_0"] = array
    return result | {f"d_{name}": grad for name, grad in grads.items()}


def run_inference(module: Any, x: np.ndarray, state: Any = None, lengths: Any = None) -> Result:
    """Outputs of one call of a layer, by name."""
    y, last = module(x, state, lengths)
    return {"y": y} | {
        f"{name}_n": array for name, array in zip("hc", state_arrays(last), strict=False)
    }
