"""A small model with every kind of state, and runs of it: for the tests of checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastrnn
from fastrnn import training as tr

PLATEAU_LR = 0.02


def small_model(hidden: int = 4, dtype: Any = np.float32) -> tr.Sequential:
    return tr.Sequential(
        embedding=tr.Embedding(6, 3, dtype=dtype, rng=0),
        lstm=fastrnn.LSTM(3, hidden, 2, dropout=0.2, dtype=dtype, rng=1),
        dropout=tr.Dropout(0.3, seed=2),
        head=tr.Linear(hidden, 6, dtype=dtype, rng=3),
    )


def run(**options: Any) -> tuple[tr.Sequential, tr.Adam]:
    ids = np.random.default_rng(0).integers(0, 6, 900)
    model = small_model()
    optimizer = tr.Adam(model.parameters(), 1e-2)
    defaults = {
        "schedule": tr.ReduceOnPlateau(PLATEAU_LR, factor=0.6, patience=0, threshold=0.01),
        "clip_norm": 1.0,
        "validation": tr.TextWindows(ids, 800, 2, 16, 8),
        "validate_every": 7,
        "progress": False,
    }
    streams = tr.TextStreams(ids[:800], 4, 9, seed=1)
    tr.fit(model, streams, tr.cross_entropy, optimizer, **{**defaults, **options})
    return model, optimizer


def assert_equal(one: tuple[tr.Sequential, tr.Adam], two: tuple[tr.Sequential, tr.Adam]) -> None:
    for name, array in one[0].parameters().items():
        assert np.array_equal(array, two[0].parameters()[name]), name
    for slot, arrays in one[1].state.items():
        for name, array in arrays.items():
            assert np.array_equal(array, two[1].state[slot][name]), (slot, name)
    assert (one[1].steps, one[1].lr) == (two[1].steps, two[1].lr)
    assert one[0].rng_state() == two[0].rng_state()
