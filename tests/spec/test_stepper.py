"""Streaming against the reference and the layer: the same bits however the steps are cut."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from cases import Case, run_reference, solve
from engine import assert_same_bits
from modules import LAYERS, has_c, normal, random_state, state_arrays
from problems import every_dtype
from streams import assert_same_state, every_layer, stream
from tolerances import (
    FEWEST_THROWS,
    INDEPENDENT,
    TYPICAL_RATIO,
    Float32Errors,
    float64_miss,
    sizes_of_errors,
)

import fastrnn

CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN tanh", "rnn_relu": "RNN relu"}
# (I, H, L, S): below, at and above a vector, a panel and a tile; input products joined and ahead
SIZES = [
    (1, 1, 1, 1),
    (5, 7, 1, 3),
    (3, 16, 2, 1),
    (16, 17, 3, 2),
    (33, 15, 1, 6),
    (64, 65, 4, 17),
    (20, 130, 2, 1),
    (40, 64, 1, 1),
]
T = 150  # longer than a block of `process`, so that blocks meet
CUTS = [(), (1,) * 5, (0, T), (7, 60), (130, 1, 3), (1, 128, 1, 0, 2)]
every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def results(case: Case, throw: int) -> tuple[dict[str, np.ndarray], ...]:
    """One draw of a case: the stepper's outputs, the truth, the NumPy loop in the same dtype."""
    problem, exact = solve(case, throw=throw)
    module = LAYERS[CELLS[case.cell]](
        case.I, case.H, num_layers=case.L, bias=case.bias, dtype=case.dtype
    )
    module.load_state_dict(dict(zip(case.param_names, problem.params, strict=True)))
    stepper = fastrnn.Stepper(module, case.B)
    stepper.state = (problem.h_0, problem.c_0) if case.has_c else problem.h_0
    got = {"y": stream(stepper, problem.x, (3, 4))}
    got |= {f"{n}_n": a for n, a in zip("hc", state_arrays(stepper.state), strict=False)}
    return got, exact, run_reference(problem, case.dtype)


@every_dtype
@pytest.mark.parametrize("cell", CELLS)
def test_against_the_reference(cell: str, dtype: str) -> None:
    ratios = []
    for number, (I, H, L, S) in enumerate(SIZES):
        case = Case(cell, 11, S, I, H, L, dtype=dtype, bias=number % 3 != 1)
        throws = max(FEWEST_THROWS, INDEPENDENT // (L * S * H)) if dtype == "float32" else 1
        errors: dict[str, Float32Errors] = {}
        for throw in range(throws):
            got, exact, loop = results(case, throw)
            for name, found in got.items():
                if dtype == "float64":
                    assert float64_miss(found, exact[name]) is None, (name, case)
                else:
                    sides = (sizes_of_errors(side, exact[name]) for side in (found, loop[name]))
                    errors.setdefault(name, Float32Errors()).add(*sides)
        for name, pooled in errors.items():
            assert pooled.miss() is None, (name, case)
            ratio = pooled.ratio()
            ratios += [] if ratio is None else [ratio]
    assert (dtype == "float32") == bool(ratios)
    if ratios:
        assert float(np.exp(np.log(ratios).mean())) <= TYPICAL_RATIO


@every_size
@every_dtype
@every_layer
def test_the_bits_of_the_layer(name: str, dtype: str, size: tuple[int, ...]) -> None:
    """Whole, step by step, in blocks, in pieces of both; with an initial state and without."""
    I, H, L, S = size
    module = LAYERS[name](I, H, num_layers=L, bias=S != 3, dtype=dtype, rng=0)
    x = normal((T, S, I), dtype)
    stepper = fastrnn.Stepper(module, streams=S)
    for state in (None, random_state(module, S)):
        expected, final = module(x, state)
        for cuts in CUTS:
            stepper.reset(state=state)
            assert_same_bits("y", stream(stepper, x, cuts), expected, (size, cuts))
            assert_same_state(stepper.state, final, (size, cuts))
            if has_c(module):
                assert len(stepper.state) == 2


@every_layer
def test_one_stream_needs_no_axis(name: str) -> None:
    module = LAYERS[name](5, 9, num_layers=2, batch_first=True, dropout=0.5, rng=0)
    x = normal((20, 5))
    expected, _ = module(x)
    stepper = fastrnn.Stepper(module)
    assert stepper.step(x[0]).shape == (9,)
    assert stepper.step(x[1:2]).shape == (1, 9)
    assert stepper.process(x[2:4, None]).shape == (2, 1, 9)
    assert_same_bits("y", stepper.process(x[4:]), expected[4:], name)


@every_dtype
@every_layer
def test_arrays_of_any_layout(name: str, dtype: str) -> None:
    """Views, gaps, other byte order, misaligned, overlapping: the same bits."""
    S, I = 3, 6
    module = LAYERS[name](I, I, dtype=dtype, rng=0)
    x = normal((12, S, I), dtype)
    expected, _ = module(x)
    misaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(dtype).reshape(x.shape)
    misaligned[...] = x
    forms = {
        "stream first": np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1),
        "backwards": np.ascontiguousarray(x[::-1])[::-1],
        "gaps": np.repeat(x, 2, axis=2)[..., ::2],
        "Fortran": np.asfortranarray(x),
        "swapped": x.astype(x.dtype.newbyteorder()),
        "misaligned": misaligned,
        "subclass": x.view(np.recarray),
        "named dtype": x.view(np.dtype(dtype, metadata={"unit": "m"})),
    }
    stepper = fastrnn.Stepper(module, S)
    for form, array in forms.items():
        stepper.reset()
        whole = stepper.process(array)
        assert_same_bits("process", whole, expected, form)
        stepper.reset()
        steps = np.stack([stepper.step(x_t) for x_t in array])
        assert_same_bits("step", steps, expected, form)

    buffer = np.zeros((13, S, 2 * I), dtype)
    for into in (buffer[1:, :, :I], buffer[:12, :, I:][::-1], np.empty_like(expected)):
        stepper.reset()
        assert stepper.process(x, into) is into
        assert_same_bits("out", into, expected, into.strides)
    for shift in (0, 1):  # out over the inputs, in place and one step on
        both = np.zeros((13, S, I), dtype)
        both[:12] = x
        stepper.reset()
        stepper.process(both[:12], out=both[shift : 12 + shift])
        assert_same_bits("overlap", both[shift : 12 + shift], expected, shift)
    x_t = x[0].copy()
    stepper.reset()
    stepper.step(x_t, out=x_t)
    assert_same_bits("step in place", x_t, expected[0], name)


@every_dtype
@every_layer
def test_states_are_copies(name: str, dtype: str) -> None:
    module = LAYERS[name](4, 18, num_layers=2, dtype=dtype, rng=0)
    stepper, other = (fastrnn.Stepper(module, 5) for _ in range(2))
    x = normal((9, 5, 4), dtype)
    stepper.process(x[:4])
    saved = stepper.state
    kept = copy.deepcopy(saved)
    expected = stepper.process(x[4:])
    assert_same_state(saved, kept, "a state that was read does not follow")
    other.state = saved
    for array in state_arrays(saved):
        array[...] = np.nan
    assert_same_state(other.state, kept, "a state that was set does not follow")
    assert_same_bits("y", other.process(x[4:]), expected, name)
    assert_same_state(other.state, stepper.state, name)


@every_layer
def test_reset_of_chosen_streams(name: str) -> None:
    module = LAYERS[name](4, 18, num_layers=2, rng=0)
    S = 5
    stepper = fastrnn.Stepper(module, S)
    mask = np.array([True, False, False, True, False])
    state = random_state(module, S)
    for odd in (0, 1):  # the slot of h differs
        stepper.process(normal((4 + odd, S, 4)))
        for given in (state, None):
            before = state_arrays(stepper.state)
            stepper.reset(mask, given)
            for which, after in enumerate(state_arrays(stepper.state)):
                start = np.zeros_like(after) if given is None else state_arrays(given)[which]
                assert_same_bits("reset", after[:, mask], start[:, mask], (name, which))
                assert_same_bits("kept", after[:, ~mask], before[which][:, ~mask], (name, which))
    stepper.reset([False] * S, state)
    stepper.reset()
    assert not any(array.any() for array in state_arrays(stepper.state))


@every_layer
def test_weights_are_those_of_construction_until_refreshed(name: str) -> None:
    module = LAYERS[name](4, 18, rng=0)
    x = normal((6, 2, 4))
    expected, middle = module(x)
    stepper = fastrnn.Stepper(module, 2)
    module.weight_hh_l0 *= 0.5
    module.bias_ih_l0 += 1
    assert_same_bits("y", stepper.process(x), expected, name)
    stepper.refresh()
    assert_same_state(stepper.state, middle, "refresh keeps the states")
    expected, final = module(x, middle)
    assert_same_bits("y", stepper.process(x), expected, name)
    assert_same_state(stepper.state, final, name)
