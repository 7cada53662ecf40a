"""The cells: one step of a layer with the same weights, forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine import assert_same_bits, assert_same_results
from modules import CELLS, LAYERS, has_c, normal, random_state, state_arrays

B, I, H = 3, 4, 6


def pair(name: str, **options: Any) -> tuple[Any, Any]:
    """A cell, and the layer that has its weights."""
    cell = CELLS[name](I, H, rng=0, **options)
    layer = LAYERS[name.replace("Cell", "")](I, H, **options)
    layer.load_state_dict({f"{key}_l0": array for key, array in cell.parameters().items()})
    return cell, layer


def steps_of(state: Any) -> Any:
    """A state of a cell as one of a layer."""
    return tuple(s[None] for s in state) if isinstance(state, tuple) else state[None]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CELLS)
def test_one_step_of_the_layer(name: str, dtype: Any, bias: bool) -> None:
    cell, layer = pair(name, dtype=dtype, bias=bias)
    x, state, d_state = normal((B, I), dtype), random_state(cell, B), random_state(cell, B, 5)
    _, expected, tape = layer.forward(x[None], steps_of(state))
    d_x, d_first, grads = layer.backward(tape, None, steps_of(d_state))
    inference = cell(x, state)
    found, cell_tape = cell.forward(x, state)
    cell_d_x, cell_d_first, cell_grads = cell.backward(cell_tape, d_state)
    for got in (inference, found):
        for array, other in zip(state_arrays(got), state_arrays(expected), strict=True):
            assert_same_bits("state", array, other[0], name)
    assert_same_bits("d_x", cell_d_x, d_x[0], name)
    for array, other in zip(state_arrays(cell_d_first), state_arrays(d_first), strict=True):
        assert_same_bits("d_state_0", array, other[0], name)
    assert_same_results({f"{key}_l0": grad for key, grad in cell_grads.items()}, grads, name)


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("name", CELLS)
def test_torch_arguments_are_taken(name: str, device: Any) -> None:
    cell = CELLS[name](I, H, device=device, dtype=np.float64, rng=0)
    expected = CELLS[name](I, H, dtype=np.float64, rng=0)
    assert_same_results(cell.state_dict(), expected.state_dict(), name)


@pytest.mark.parametrize("name", CELLS)
def test_one_row_without_batch_axis(name: str) -> None:
    cell, _ = pair(name)
    x, state, d_state = normal((I,)), random_state(cell, None), random_state(cell, None, 5)
    found, tape = cell.forward(x, state)
    expected, batch_tape = cell.forward(x[None], steps_of(state))
    d_x, d_first, _ = cell.backward(tape, d_state)
    batch_d_x, batch_d_first, _ = cell.backward(batch_tape, steps_of(d_state))
    assert d_x.shape == (I,)
    assert_same_bits("d_x", d_x, batch_d_x[0], name)
    for got, other in ((found, expected), (d_first, batch_d_first)):
        for array, with_batch in zip(state_arrays(got), state_arrays(other), strict=True):
            assert array.shape == (H,)
            assert_same_bits("state", array, with_batch[0], name)


@pytest.mark.parametrize("name", CELLS)
def test_a_loop_of_steps_is_the_layer(name: str) -> None:
    cell, layer = pair(name)
    x = normal((9, B, I))
    state, outputs = None, []
    for step in x:
        state = cell(step, state)
        outputs.append(state[0] if has_c(cell) else state)
    assert_same_bits("y", np.stack(outputs), layer(x)[0], name)


@pytest.mark.parametrize("name", CELLS)
def test_empty_batch(name: str) -> None:
    cell, _ = pair(name)
    state, tape = cell.forward(np.zeros((0, I), np.float32))
    d_x, _, grads = cell.backward(tape, state)
    assert all(array.shape == (0, H) for array in state_arrays(state))
    assert d_x.shape == (0, I)
    assert not any(grad.any() for grad in grads.values())


def test_a_partial_gradient() -> None:
    cell, _ = pair("LSTMCell")
    (h, c), tape = cell.forward(normal((B, I)))
    zeros = np.zeros_like(c)
    assert_same_bits(
        "d_x", cell.backward(tape, (h, None))[0], cell.backward(tape, (h, zeros))[0], "no d_c"
    )
    assert not cell.backward(tape, None)[0].any()
