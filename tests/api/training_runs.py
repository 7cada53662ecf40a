"""Numeric gradients, and what two test files of training share: models and runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tolerances import DIFFERENCE_RELATIVE, DIFFERENCE_STEP, relative_error

import fastrnn
from fastrnn import training as tr

RNG = np.random.default_rng


def central_difference(f: Callable[[], float], array: np.ndarray) -> np.ndarray:
    """Gradient of f by every element of array (changed and put back), five-point stencil."""
    out = np.zeros_like(array)
    s = DIFFERENCE_STEP
    for index in np.ndindex(array.shape):
        kept = array[index]
        value = {}
        for k in (-2, -1, 1, 2):
            array[index] = kept + k * s
            value[k] = f()
        array[index] = kept
        out[index] = (8 * (value[1] - value[-1]) - (value[2] - value[-2])) / (12 * s)
    return out


def assert_gradient(got: np.ndarray, numeric: np.ndarray, name: str = "") -> None:
    assert got.shape == numeric.shape, name
    assert relative_error(got, numeric) <= DIFFERENCE_RELATIVE, name


def tiny_model(dropout: float = 0.0, dtype: Any = np.float64, layers: int = 1) -> tr.Sequential:
    return tr.Sequential(
        embedding=tr.Embedding(7, 3, dtype=dtype, rng=1),
        lstm=fastrnn.LSTM(3, 5, layers, dropout=dropout if layers > 1 else 0, dtype=dtype, rng=2),
        dropout=tr.Dropout(dropout, seed=3),
        gru=fastrnn.GRU(5, 4, dtype=dtype, rng=4),
        head=tr.Linear(4, 7, dtype=dtype, rng=5),
    )


def text_run(**options: Any) -> tuple[tr.Sequential, tr.History]:
    """A small text model with every kind of random number in it."""
    ids = RNG(0).integers(0, 7, 1200)
    model = tiny_model(dropout=0.3, dtype=np.float32, layers=2)
    defaults = {
        "steps": 61,
        "validate_every": 20,
        "schedule": tr.Cosine(1e-2, warmup=3),
        "clip_norm": 0.5,
        "validation": tr.TextWindows(ids, 1000, streams=3, length=16, burn_in=8),
        "progress": False,
    }
    streams = tr.TextStreams(ids[:1000], 4, 10, seed=5)
    optimizer = tr.Adam(model.parameters(), 1e-2)
    history = tr.fit(model, streams, tr.cross_entropy, optimizer, **{**defaults, **options})
    return model, history


def without_times(history: tr.History) -> dict[str, Any]:
    values = history.to_dict()
    for name in ("seconds", "train_seconds", "stop"):
        del values[name]
    return values
