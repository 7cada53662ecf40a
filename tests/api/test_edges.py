"""Empty problems, padding, tapes and aliasing: what must hold where it is easily forgotten."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from engine import assert_same_bits, assert_same_results
from modules import LAYERS, normal, random_state, run, run_inference, state_arrays

import fastrnn

T, B, I, H = 7, 4, 5, 6


def make(name: str, **options: Any) -> Any:
    return LAYERS[name](I, H, num_layers=2, bidirectional=True, rng=0, **options)


@pytest.mark.parametrize(("steps", "rows"), [(0, 4), (5, 0), (0, 0)])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_empty(name: str, steps: int, rows: int, batch_first: bool) -> None:
    layer = make(name, batch_first=batch_first)
    order = (rows, steps) if batch_first else (steps, rows)
    x = np.zeros((*order, I), np.float32)
    state, d_state = random_state(layer, rows), random_state(layer, rows, 5)
    result = run(layer, x, state, [0] * rows, None, d_state)
    assert result["y"].shape == (*order, 2 * H)
    assert result["d_x"].shape == x.shape
    for letter, first, d_last in zip(
        "hc", state_arrays(state), state_arrays(d_state), strict=False
    ):
        assert_same_bits("last state", result[f"{letter}_n"], first, "no step was taken")
        assert_same_bits("gradient", result[f"d_{letter}_0"], d_last, "no step was taken")
        assert not np.shares_memory(result[f"{letter}_n"], first)
    for key in layer.parameters():
        assert not result[f"d_{key}"].any(), f"{key} had no influence"
    inference = run_inference(layer, x, state)
    assert_same_results(inference, {key: result[key] for key in inference}, "inference")


@pytest.mark.parametrize("name", LAYERS)
def test_no_state_is_zeros(name: str) -> None:
    layer = make(name)
    x = normal((T, B, I))
    zeros = tuple(np.zeros_like(s) for s in state_arrays(random_state(layer, B)))
    given = zeros if len(zeros) == 2 else zeros[0]
    assert_same_results(run(layer, x, given), run(layer, x), "zeros")
    if len(zeros) == 2:
        h, c = random_state(layer, B)
        assert_same_results(run(layer, x, (h, None)), run(layer, x, (h, zeros[1])), "no c_0")
        assert_same_results(run(layer, x, (None, c)), run(layer, x, (zeros[0], c)), "no h_0")


@pytest.mark.parametrize("name", LAYERS)
def test_no_gradient_is_zeros(name: str) -> None:
    layer = make(name)
    y, last, tape = layer.forward(normal((T, B, I)))
    d_last = tuple(np.zeros_like(s) for s in state_arrays(last))
    zeros = d_last if len(d_last) == 2 else d_last[0]
    d_x, _, grads = layer.backward(tape)
    assert not d_x.any()
    assert not any(grad.any() for grad in grads.values())
    expected = layer.backward(tape, normal(y.shape), zeros)
    found = layer.backward(tape, normal(y.shape))
    assert_same_bits("d_x", found[0], expected[0], "no d_state")
    assert_same_results(found[2], expected[2], "no d_state")


@pytest.mark.parametrize("name", LAYERS)
def test_lengths(name: str) -> None:
    """Each row of a padded batch computes what it computes alone, unpadded."""
    layer = make(name)
    lengths = [3, 7, 0, 5]
    x, d_y = normal((T, B, I)), normal((T, B, 2 * H), key=1)
    state, d_state = random_state(layer, B), random_state(layer, B, 5)
    result = run(layer, x, state, lengths, d_y, d_state)
    for row, length in enumerate(lengths):
        only = slice(row, row + 1)

        def pick(given: Any, only: slice = only) -> Any:
            parts = tuple(s[:, only] for s in state_arrays(given))
            return parts if len(parts) == 2 else parts[0]

        alone = run(layer, x[:length, only], pick(state), None, d_y[:length, only], pick(d_state))
        for key, array in alone.items():
            if key in ("y", "d_x"):
                assert_same_bits(key, result[key][:length, only], array, f"row {row}")
                assert not result[key][length:, only].any(), f"{key} past the end of row {row}"
            elif key in ("h_n", "c_n", "d_h_0", "d_c_0"):
                assert_same_bits(key, result[key][:, only], array, f"row {row}")
    full = run(layer, x, state, [T] * B, d_y, d_state)
    assert_same_results(full, run(layer, x, state, None, d_y, d_state), "all rows are full")


@pytest.mark.parametrize("name", LAYERS)
def test_what_lies_past_the_end_of_a_row_is_never_used(name: str) -> None:
    layer = make(name)
    lengths = np.array([3, 7, 0, 5])
    padding = np.arange(T)[:, None] >= lengths
    x, d_y = normal((T, B, I)), normal((T, B, 2 * H), key=1)
    expected = run(layer, x, None, lengths, d_y)
    x[padding], d_y[padding] = np.nan, np.inf
    assert_same_results(run(layer, x, None, lengths, d_y), expected, name)


@pytest.mark.parametrize("name", LAYERS)
def test_arguments_are_not_changed_and_results_are_new(name: str) -> None:
    layer = make(name)
    x, d_y, lengths = normal((T, B, I)), normal((T, B, 2 * H), key=1), np.array([3, 7, 0, 5])
    state, d_state = random_state(layer, B), random_state(layer, B, 5)
    given = [x, d_y, lengths, *state_arrays(state), *state_arrays(d_state)]
    given += list(layer.parameters().values())
    before = [array.tobytes() for array in given]
    first = run(layer, x, state, lengths, d_y, d_state)
    kept = {key: array.copy() for key, array in first.items()}
    run(layer, -x, state, lengths, d_y, d_state)
    assert [array.tobytes() for array in given] == before
    assert_same_results(first, kept, "a later call wrote into earlier results")
    results = list(first.values())
    for index, array in enumerate(results):
        assert (array.flags.writeable and array.flags.owndata) or array.base is not None
        for other in given + results[:index]:
            assert not np.shares_memory(array, other)


@pytest.mark.parametrize("name", LAYERS)
def test_a_tape_can_be_used_again_and_keeps_the_weights_it_saw(name: str) -> None:
    layer = make(name)
    y, _, tape = layer.forward(normal((T, B, I)))
    d_y = normal(y.shape, key=1)
    first = layer.backward(tape, d_y)
    for array in layer.parameters().values():
        array *= 3
    layer(normal((T, B, I)))
    second = layer.backward(tape, d_y)
    assert_same_bits("d_x", second[0], first[0], "the weights have changed since")
    assert_same_results(second[2], first[2], "the weights have changed since")
    assert tape.nbytes > 0


def test_a_tape_keeps_x_alive_and_lets_go_of_it() -> None:
    lstm = fastrnn.LSTM(I, H, rng=0)
    x = normal((T, B, I))
    alive = weakref.ref(x)
    _, _, tape = lstm.forward(x)
    del x
    gc.collect()
    assert alive() is not None
    del tape
    gc.collect()
    assert alive() is None


def test_dropout_of_one_leaves_the_later_layers_without_input() -> None:
    lstm = fastrnn.LSTM(I, H, 2, dropout=1.0, rng=0)
    x = normal((T, B, I))
    found = run(lstm, x)
    upper = fastrnn.LSTM(H, H)
    upper.load_state_dict(
        {key.replace("_l1", "_l0"): a for key, a in lstm.parameters().items() if "_l1" in key}
    )
    assert_same_bits("y", found["y"], upper(np.zeros((T, B, H), np.float32))[0], "zero input")
    assert not found["d_x"].any()
    assert not found["d_weight_ih_l0"].any()


def test_dropout_acts_between_layers_in_training_only() -> None:
    plain, masked = (fastrnn.GRU(I, H, 3, dropout=p, rng=0) for p in (0.0, 0.5))
    x = normal((T, B, I))
    assert_same_results(run_inference(masked, x), run_inference(plain, x), "inference")
    assert not np.array_equal(masked.forward(x)[0], plain.forward(x)[0])
    masked.dropout = 0.0
    assert_same_bits("y", masked.forward(x)[0], plain.forward(x)[0], "switched off")
    # the first layer's output is masked, not its state: h_n of layer 0 is as without dropout
    masked.dropout = 0.5
    assert_same_bits("h_n", masked.forward(x)[1][0], plain(x)[1][0], "layer 0")


def test_one_call_equals_two_with_carried_state() -> None:
    for name, cls in LAYERS.items():
        layer = cls(I, H, num_layers=2, rng=0)
        x = normal((T, B, I))
        y, last = layer(x)
        first, middle = layer(x[:3])
        second, end = layer(x[3:], middle)
        assert_same_bits("y", np.concatenate([first, second]), y, name)
        for found, expected in zip(state_arrays(end), state_arrays(last), strict=True):
            assert_same_bits("state", found, expected, name)
