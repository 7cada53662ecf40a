"""The oracle itself: cases worked by hand, laws of the scan, what it refuses and imports."""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cases import CELLS, Case, draw, run_reference
from tolerances import (
    RELATIVE_FLOAT64,
    relative_error,
)

from fastrnn import reference


def logistic(v: float) -> float:
    return 1.0 / (1.0 + math.exp(-v))


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def assert_close(got: np.ndarray, exact: np.ndarray, context: object = "") -> None:
    assert got.shape == exact.shape, f"{got.shape} != {exact.shape} {context}"
    assert relative_error(got, exact) <= RELATIVE_FLOAT64, f"{got} != {exact} {context}"


# ---- worked by hand: one or two units, numbers a pencil can follow -------------------------------


def test_lstm_two_steps_by_hand():
    wi, wh, b, r = (0.5, -0.25, 1.0, 0.75), (0.1, 0.2, -0.3, 0.4), (0.0, 1.0, -0.5, 0.2), 0.05
    h, c, outputs = 0.3, -0.6, []
    for x in (0.7, -1.1):
        i, f, g, o = (wi[k] * x + wh[k] * h + b[k] + r for k in range(4))
        c = logistic(f) * c + logistic(i) * math.tanh(g)
        h = logistic(o) * math.tanh(c)
        outputs.append(h)
    params = [column(*wi), column(*wh), np.array(b), np.full(4, r)]
    x = np.array([[[0.7]], [[-1.1]]])
    y, h_n, c_n, _ = reference.forward("lstm", params, x, [[[0.3]]], [[[-0.6]]])
    assert_close(y[:, 0, 0], np.array(outputs))
    assert_close(h_n, np.array([[[h]]]))
    assert_close(c_n, np.array([[[c]]]))


def test_gru_step_by_hand_resets_after_the_product():
    wi, wh, bi, bh = (0.5, -0.25, 1.0), (0.1, 0.2, -0.3), (0.0, 1.0, -0.5), (0.3, 0.2, 0.9)
    x, h = 0.7, 0.4
    r = logistic(wi[0] * x + bi[0] + wh[0] * h + bh[0])
    z = logistic(wi[1] * x + bi[1] + wh[1] * h + bh[1])
    n = math.tanh(wi[2] * x + bi[2] + r * (wh[2] * h + bh[2]))
    params = [column(*wi), column(*wh), np.array(bi), np.array(bh)]
    y, *_ = reference.forward("gru", params, [[[x]]], [[[h]]])
    assert_close(y, np.array([[[(1 - z) * n + z * h]]]))


FIRST = np.tanh([-3.0, 3.0])


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("linear", [[-3, 3], [-8, 1]]),
        ("rnn_relu", [[0, 3], [0, 4]]),
        ("rnn_tanh", [FIRST, np.tanh([2 * FIRST[0] - 2, FIRST[0] + 4])]),
    ],
)
def test_rnn_two_steps_by_hand(cell: str, expected: list[list[float]]):
    # step 1: W_ih x = (-2, 3), b_ih = (1, -1), W_hh h_0 = (-2, -1), b_hh = (0, 2): pre = (-3, 3)
    # step 2: W_ih x = (-3, 3), so pre = (-2, 4) + W_hh h_1 = (-2 + 2 h_1[0], 4 + h_1[0])
    weight_ih, weight_hh = np.array([[1.0, -2.0], [0.0, 3.0]]), np.array([[2.0, 0.0], [1.0, 0.0]])
    params = [weight_ih, weight_hh, np.array([1.0, -1.0]), np.array([0.0, 2.0])]
    x = np.array([[[0.0, 1.0]], [[-1.0, 1.0]]])
    y, h_n, c_n, _ = reference.forward(cell, params, x, [[[-1.0, 0.5]]])
    assert_close(y[:, 0], np.array(expected, np.float64))
    assert np.array_equal(h_n[0], y[-1])
    assert c_n is None


@pytest.mark.parametrize("cell", CELLS)
def test_gradient_of_one_step_by_hand(cell: str):
    """All weights 0, h_0 = 1, c_0 = 1, x = 1: sigmoids are 1/2, candidates and pre are 0."""
    G = reference.CELLS[cell].gates
    params = [np.zeros((G, 1)), np.zeros((G, 1)), np.zeros(G), np.zeros(G)]
    one = np.ones((1, 1, 1))
    c_0 = one if cell == "lstm" else None
    *_, tape = reference.forward(cell, params, one, one, c_0)
    _, d_h_0, d_c_0, grads = reference.backward(tape, one)
    tanh_c = math.tanh(0.5)
    d_c = 0.5 * (1 - tanh_c**2)
    expected = {  # d loss / d pre, per gate; with x = h_0 = 1 that is also the weight gradient
        "lstm": [0.0, d_c / 4, d_c / 2, tanh_c / 4],
        "gru": [0.0, 0.25, 0.5],
        "rnn_tanh": [1.0],
        "rnn_relu": [0.0],
        "linear": [1.0],
    }[cell]
    assert_close(grads[0][:, 0], np.array(expected))
    from_h = np.array(expected) * ([1, 1, 0.5] if cell == "gru" else 1)  # r scales W_hn h
    assert_close(grads[1][:, 0], from_h)
    assert_close(grads[3], from_h)
    assert_close(d_h_0, np.full((1, 1, 1), 0.5 if cell == "gru" else 0.0))
    if cell == "lstm":
        assert_close(d_c_0, np.full((1, 1, 1), d_c / 2))


# ---- laws of the scan ----------------------------------------------------------------------------


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_a_ragged_row_is_that_row_alone_cut_at_its_length(cell: str, D: int):
    case = Case(cell, T=7, B=5, I=3, H=4, L=2, D=D, ragged=True)
    problem = draw(case)
    together = run_reference(problem)
    gradients = {name: np.zeros_like(v) for name, v in together.items() if "_l" in name}
    for b, length in enumerate(problem.lengths):
        row = slice(b, b + 1)
        cut = {"x": problem.x[:length, row], "d_y": problem.d_y[:length, row], "lengths": None}
        for name in ("h_0", "c_0", "d_h_n", "d_c_n"):
            array = getattr(problem, name)
            cut[name] = None if array is None else array[:, row]
        alone = run_reference(replace(problem, extra={}, **cut))
        for name, value in alone.items():
            if name in gradients:
                gradients[name] += value
            elif name in ("y", "d_x"):
                assert_close(together[name][:length, row], value, name)
                assert not together[name][length:, row].any()
            else:
                assert_close(together[name][:, row], value, name)
    for name, value in gradients.items():
        assert_close(together[name], value, name)


@pytest.mark.parametrize("cell", CELLS)
def test_the_reverse_direction_is_the_forward_one_on_flipped_time(cell: str):
    problem = draw(Case(cell, T=6, B=3, I=2, H=4, D=2))
    y, *_ = (run_reference(problem)[n] for n in ("y",))
    count = len(problem.params) // 2
    flipped = replace(
        problem,
        case=replace(problem.case, D=1),
        params=problem.params[count:],
        x=problem.x[::-1],
        h_0=problem.h_0[1:],
        c_0=None if problem.c_0 is None else problem.c_0[1:],
        d_y=None,
        d_h_n=None,
        d_c_n=None,
    )
    assert np.array_equal(run_reference(flipped)["y"][::-1], y[..., 4:])


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_is_the_mask_between_two_layers_run_apart(cell: str):
    problem = draw(Case(cell, T=5, B=3, I=2, H=4, L=2, dropout=0.5, states=False))
    both, count = run_reference(problem), len(problem.params) // 2
    below, *_ = reference.forward(cell, problem.params[:count], problem.x)
    seed = problem.case.dropout_seed
    mask = reference.dropout_mask(0, below.size, 1, 0.5, seed).reshape(below.shape)
    assert 0 < (mask == 0).sum() < mask.size
    above, *_ = reference.forward(cell, problem.params[count:], below * mask)
    assert np.array_equal(both["y"], above)
    assert not np.array_equal(run_reference(problem, training=False)["y"], above)


@pytest.mark.parametrize("T", [0, 3])
@pytest.mark.parametrize("B", [0, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_without_steps_the_state_passes_through(cell: str, B: int, T: int):
    problem = draw(Case(cell, T=T, B=B, I=2, H=3, L=2, D=2))
    problem.lengths = np.zeros(B, np.int64)
    result = run_reference(problem)
    assert result["y"].shape == (T, B, 6)
    assert not result["y"].any()
    assert not result["d_x"].any()
    assert np.array_equal(result["h_n"], problem.h_0)
    assert np.array_equal(result["d_h_0"], problem.d_h_n)
    if cell == "lstm":
        assert np.array_equal(result["c_n"], problem.c_0)
        assert np.array_equal(result["d_c_0"], problem.d_c_n)
    assert not any(v.any() for name, v in result.items() if "_l" in name)


def test_float32_loop_stays_in_float32():
    problem = draw(Case("gru", T=3, B=2, I=2, H=3, L=2, dropout=0.5, dtype="float32"))
    assert {v.dtype for v in run_reference(problem, "float32").values()} == {np.dtype("float32")}
    assert {v.dtype for v in run_reference(problem, "float64").values()} == {np.dtype("float64")}


def test_backward_may_be_called_again_and_is_linear():
    problem = draw(Case("lstm", T=4, B=2, I=2, H=3, L=2, dropout=0.3))
    first = run_reference(problem)
    tape = problem.extra["tape"]
    again = reference.backward(tape, problem.d_y, problem.d_h_n, problem.d_c_n)
    double = reference.backward(tape, 2 * problem.d_y, 2 * problem.d_h_n, 2 * problem.d_c_n)
    assert np.array_equal(again[0], first["d_x"])
    assert np.array_equal(double[0], 2 * first["d_x"])
    assert all(np.array_equal(b, 2 * a) for a, b in zip(again[3], double[3], strict=True))


# ---- what it refuses, and what it may import -----------------------------------------------------


def test_arguments_that_do_not_fit_are_refused_with_the_numbers():
    good = draw(Case("lstm", T=3, B=2, I=2, H=4))
    x, params = good.x, good.params

    def refuse(match: str, cell: str = "lstm", params: list = params, x: np.ndarray = x, **more):
        with pytest.raises(ValueError, match=match):
            reference.forward(cell, params, x, **more)

    refuse("'elman'.*lstm, gru", cell="elman")
    refuse(r"4 arrays.*2 \* 1 \* 4 = 8", num_layers=2)
    refuse(r"4 arrays.*1 \* 1 \* 2 = 2", bias=False)
    refuse(r"weight_ih of layer 0 direction 0 has shape \(16, 2\).*\(12, 2\)", cell="gru")
    refuse(r"shapes \(2,\) and \(16, 4\), expected two axes", params=[x[0, 0], *params[1:]])
    refuse(r"x has shape \(3, 2, 1\).*= 2", x=x[..., :1])
    refuse(r"h_0 has shape \(2, 4\), expected \(1, 2, 4\)", h_0=np.zeros((2, 4)))
    refuse(r"lengths has shape \(3,\), expected \(2,\)", lengths=np.zeros(3, int))
    refuse(r"lengths has values in \[0, 4\].*\[0, 3\]", lengths=np.array([0, 4]))
    refuse(r"lengths has values in \[-1, 2\]", lengths=np.array([2, -1]))
    gru = draw(replace(good.case, cell="gru"))
    refuse("c_0 is given.*'gru'", cell="gru", params=gru.params, c_0=np.zeros((1, 2, 4)))
    with pytest.raises(ValueError, match=r"p is 1.5.*\[0, 1\]"):
        reference.dropout_mask(0, 1, 1, 1.5, 0)
    with pytest.raises(ValueError, match=r"'sigmoid'.*tanh, relu"):
        reference.RNN("sigmoid")


def test_reference_imports_numpy_and_nothing_else():
    allowed = {"__future__", "collections", "dataclasses", "math", "typing", "numpy"}
    files = sorted(Path(reference.__file__).parent.glob("*.py"))
    assert len(files) >= 5
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                roots = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level <= 1, f"{file.name}: climbs out of reference"
                roots = {node.module.split(".")[0]} if node.level == 0 else set()
            else:
                continue
            assert roots <= allowed, f"{file.name} imports {roots - allowed}"
