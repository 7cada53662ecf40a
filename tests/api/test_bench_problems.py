"""The benchmark's problems, and the check that every peer has to pass before it is timed."""

from __future__ import annotations

import numpy as np
import pytest
from bench.check import TOLERANCE, comparisons, complaint, expected_results, largest_errors
from bench.peers.base import toggle_first_element
from bench.problems import (
    GATES,
    GRID,
    REFERENCE_CELLS,
    SHAPES,
    SWEEP,
    Problem,
    make_inputs,
    parse_shape,
)

import fastrnn
from fastrnn import reference


def test_gate_counts_are_those_of_the_reference():
    assert {c: reference.CELLS[REFERENCE_CELLS[c]].gates for c in GATES} == GATES


def test_flops_of_one_step_counted_by_hand():
    problem = Problem("lstm", "inference", B=1, T=1, I=2, H=1)
    # 4 gates, each a product of 1 unit with 2 inputs and 1 state: 3 multiplications, 3 additions.
    assert problem.flops == 4 * 6
    assert Problem("lstm", "training", B=1, T=1, I=2, H=1).flops == 3 * 4 * 6


def test_flops_of_a_stack_are_those_of_its_layers():
    # layer 0 reads 2 inputs and 1 state per direction, layer 1 reads 2 outputs and 1 state
    stack = Problem("rnn", "inference", B=3, T=5, I=2, H=1, L=2, D=2)
    assert stack.flops == 2 * 3 * 5 * 2 * ((2 + 1) + (2 + 1))


def test_a_stream_counts_one_step():
    per_step = Problem("gru", "inference", B=1, T=1, I=6, H=7).flops
    assert Problem("gru", "stream", B=1, T=100, I=6, H=7).flops == per_step


def test_a_stack_has_the_parameters_of_the_layer_that_loads_them():
    problem = Problem("lstm", "training", B=2, T=3, I=4, H=5, L=3, D=2)
    layer = fastrnn.LSTM(4, 5, num_layers=3, bidirectional=True)
    weights = make_inputs(problem).weights
    assert list(weights) == list(layer.state_dict())
    layer.load_state_dict(weights)  # refuses any other shape


def test_ragged_lengths_lie_in_their_range_and_one_row_is_full():
    lengths = make_inputs(Problem("rnn", "inference", 200, 50, 1, 1, ragged=True)).lengths
    assert lengths.max() == lengths[0] == 50
    assert lengths.min() >= 1
    assert 20 < lengths.mean() < 31


def test_subnormal_inputs_are_below_every_normal_number():
    problem = Problem("lstm", "training", B=2, T=3, I=4, H=5, subnormal=True)
    inputs = make_inputs(problem)
    for array in (inputs.x, inputs.h_0, inputs.c_0, inputs.d_y):
        assert 0 < np.abs(array).max() < np.finfo(np.float32).tiny
    assert not inputs.weights["bias_ih_l0"].any()
    assert inputs.weights["weight_hh_l0"].all()


@pytest.mark.parametrize("size", [("32x96x8x64xL2", (2, 1)), ("8x2x6x4xL2xD2", (2, 2))])
def test_layers_and_directions_are_read_from_a_shape(size):
    text, (L, D) = size
    shape = parse_shape(text)
    assert (shape.L, shape.D, shape.label) == (L, D, text)


def test_every_shape_has_a_name_a_reason_and_parses_back():
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)
    for shape in (*SHAPES, *SWEEP):
        assert shape.why
        assert parse_shape(shape.name) == shape
    for shape in GRID:
        assert parse_shape(shape.label) == shape


@pytest.mark.parametrize(
    "text", ["", "4x4x4", "0x1x1x1", "1x2x3x4x5", "1x2x3x4xL0", "1x2x3x4xD3", "ax1x1x1", "1x-2x3x4"]
)
def test_a_malformed_shape_is_named(text):
    with pytest.raises(ValueError, match=r"expected four positive sizes"):
        parse_shape(text)


def test_inputs_are_the_same_in_every_process_and_nowhere_zero():
    problem = Problem("lstm", "training", B=2, T=3, I=4, H=5)
    a, b = make_inputs(problem), make_inputs(problem)
    for x, y in ((a.x, b.x), (a.h_0, b.h_0), (a.c_0, b.c_0), (a.d_y, b.d_y)):
        assert x.dtype == np.float32
        assert np.array_equal(x, y)
        assert (x != 0).all()


def test_a_long_problem_is_compared_short_in_full_and_long_in_rows():
    (short, all_rows), (whole, rows) = comparisons(Problem("gru", "training", 256, 365, 32, 256))
    assert 4 <= short.T < 365
    assert all_rows is None
    assert whole.T == 365
    assert rows == [0, 128, 255]


def test_rows_alone_have_the_results_they_have_in_the_batch():
    problem = Problem("gru", "training", B=5, T=4, I=3, H=2)
    whole, rows = expected_results(problem, None), expected_results(problem, [0, 4])
    assert set(rows) == {"y", "h_n", "d_x"}
    for name, array in rows.items():
        np.testing.assert_allclose(array, whole[name][:, [0, 4]], rtol=1e-12, atol=1e-14)


def test_toggling_a_weight_changes_it_least_and_twice_is_nothing():
    array = np.full(3, -1.5, np.float32)
    toggle_first_element(array)
    assert array[0] != -1.5
    assert array[0] in np.nextafter(np.float32(-1.5), np.array([-2, 0], np.float32))
    toggle_first_element(array)
    assert (array == -1.5).all()


def test_tolerances_pass_rounding_and_stop_half_precision():
    problem = Problem("lstm", "training", B=3, T=6, I=4, H=5)
    right = expected_results(problem, None)
    single = {name: array.astype(np.float32) for name, array in right.items()}
    half = {name: array.astype(np.float16).astype(np.float32) for name, array in right.items()}
    assert complaint(largest_errors(single, right)) is None
    assert complaint(largest_errors(half, right)) is not None
    assert set(TOLERANCE) == {"value", "gradient"}
