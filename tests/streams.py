"""What the tests of the stepper share: steps cut in any way, and states compared bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine import assert_same_bits
from modules import LAYERS, state_arrays

import fastrnn

every_layer = pytest.mark.parametrize("name", LAYERS)


def stream(stepper: fastrnn.Stepper, x: np.ndarray, cuts: tuple[int, ...]) -> np.ndarray:
    """x in pieces of these lengths, through `step` and `process` in turn; the rest in one block."""
    done = 0
    parts = []
    for number, length in enumerate(cuts):
        piece = x[done : done + length]
        done += length
        if number % 2:
            parts.append(stepper.process(piece))
        else:
            parts += [stepper.step(x_t)[None] for x_t in piece]
    return np.concatenate([*parts, stepper.process(x[done:])])


def assert_same_state(got: Any, expected: Any, context: object) -> None:
    assert isinstance(got, tuple) == isinstance(expected, tuple), context
    for name, a, b in zip("hc", state_arrays(got), state_arrays(expected), strict=False):
        assert_same_bits(name, a, b, context)
