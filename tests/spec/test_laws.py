"""What must not change a single bit: threads, batch, chunks, order, repetition.

Each law compares bytes. They hold because a sum is never split over threads or regrouped by batch,
and because one kernel serves every row alike; a tolerance here would hide a race or a stale buffer.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cases import CELLS, DTYPES, Case, Problem, Result, draw, random_generator
from engine import assert_same_bits, assert_same_results, forward, named, pack, run_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import every_cell, every_dtype, every_size, every_stack, problem_of, take_rows

import fastrnn
from fastrnn import _core

PER_ROW = {"y": 1, "d_x": 1, "h_n": 1, "c_n": 1, "d_h_0": 1, "d_c_0": 1}  # axis of B, time-major


def assert_rows(got: Result, whole: Result, rows: Any, context: object) -> None:
    """What belongs to rows is the same; weight gradients sum over the batch and are left out."""
    for name, axis in PER_ROW.items():
        if name in whole:
            assert_same_bits(name, got[name], np.take(whole[name], rows, axis), context)


@every_size
@every_stack
@every_dtype
@every_cell
@pytest.mark.usefixtures("threads")
def test_number_of_threads(cell: str, dtype: str, stack: str, size: tuple[int, ...]):
    problem = problem_of(cell, dtype, stack, size, ragged=size[0] == 3)
    _core.set_num_threads(1)
    expected = run_engine(problem)
    for count in (2, 3, 4, 1):
        _core.set_num_threads(count)
        assert_same_results(run_engine(problem), expected, (count, problem.case))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("hidden", [20, 24, 32])
def test_threads_that_share_tiles_of_a_weight_gradient(hidden: int):
    """Two panels, few tiles of operands: of 4 or 6 threads some gather the same tiles together."""
    lstm = fastrnn.LSTM(3, hidden, rng=0)
    x = np.random.default_rng(0).standard_normal((300, 64, 3), dtype=np.float32)
    fastrnn.set_num_threads(1)
    y, _, tape = lstm.forward(x)
    expected = lstm.backward(tape, y)[2]
    for count in (4, 6):
        fastrnn.set_num_threads(count)
        assert f"{count} threads" in str(fastrnn.explain(lstm, x, training=True)["backward"])
        y, _, tape = lstm.forward(x)
        gradients = lstm.backward(tape, y)[2]
        for name, gradient in gradients.items():
            assert_same_bits(name, gradient, expected[name], count)


@every_size
@every_stack
@every_dtype
@every_cell
def test_rerun_and_a_fresh_pack(cell: str, dtype: str, stack: str, size: tuple[int, ...]):
    dropout = 0.25 if stack.startswith("two") else 0.0
    problem = problem_of(cell, dtype, stack, size, dropout=dropout)
    packed = pack(problem)
    expected = run_engine(problem, packed)
    for _ in range(3):
        assert_same_results(run_engine(problem, packed), expected, problem.case)
    assert_same_results(run_engine(problem), expected, problem.case)


@pytest.mark.parametrize("ragged", [False, True])
@every_size
@every_stack
@every_dtype
@every_cell
def test_a_row_alone_and_in_a_batch(
    cell: str, dtype: str, stack: str, size: tuple[int, ...], ragged: bool
):
    problem = problem_of(cell, dtype, stack, size, ragged=ragged)
    whole = run_engine(problem)
    B = problem.case.B
    for rows in {(0,), (B // 2,), (B - 1,), tuple(range(B // 2)), tuple(range(1, B))} - {()}:
        got = run_engine(take_rows(problem, list(rows)))
        assert_rows(got, whole, list(rows), (rows, problem.case))


@pytest.mark.parametrize("ragged", [False, True])
@every_size
@every_stack
@every_dtype
@every_cell
def test_order_of_the_batch(cell: str, dtype: str, stack: str, size: tuple[int, ...], ragged: bool):
    """Also: lengths in any order, since they are permuted along."""
    problem = problem_of(cell, dtype, stack, size, ragged=ragged)
    whole = run_engine(problem)
    rng = random_generator(problem.case, attempt=7)
    for order in (rng.permutation(problem.case.B), np.arange(problem.case.B)[::-1]):
        assert_rows(run_engine(take_rows(problem, order)), whole, order, problem.case)


def run_chunks(problem: Problem, cuts: list[int]) -> Result:
    """The pieces between the cuts one after another, the states carried over in both passes."""
    T, p = problem.case.T, problem
    edges = [0, *cuts, T]
    pieces, tapes = [], []
    h, c = p.h_0, p.c_0
    for a, b in pairwise(edges):
        lengths = None if p.lengths is None else np.clip(p.lengths - a, 0, b - a)
        piece = replace(p, x=p.x[a:b], d_y=p.d_y[a:b], h_0=h, c_0=c, lengths=lengths)
        y, h, c, tape = forward(piece)
        pieces.append(y)
        tapes.append((piece, tape))
    d_h, d_c, d_xs = p.d_h_n, p.d_c_n, []
    for piece, tape in reversed(tapes):
        d_x, d_h, d_c, grads = _core.backward(tape, piece.d_y, d_h, d_c)
        d_xs.insert(0, d_x)
    outputs = (np.concatenate(pieces), h, c)
    return named(p.case, outputs, (np.concatenate(d_xs), d_h, d_c, grads))


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("L", [1, 2])
@every_size
@every_dtype
@every_cell
def test_one_call_and_chunks(cell: str, dtype: str, L: int, size: tuple[int, ...], ragged: bool):
    problem = problem_of(cell, dtype, "one_layer", size, L=L, ragged=ragged)
    whole, T = run_engine(problem), problem.case.T
    everyone = np.arange(problem.case.B)
    for cuts in ([T // 2], [1, T // 3, T - 1], [0, T // 4, T // 4]):  # also empty pieces
        assert_rows(run_chunks(problem, cuts), whole, everyone, (cuts, problem.case))


@every_stack
@every_dtype
@every_cell
def test_one_tape_serves_several_backward_calls(cell: str, dtype: str, stack: str):
    """With other gradients and other forward calls in between."""
    problem = problem_of(cell, dtype, stack, (3, 37, 5, 33), ragged=True, dropout=0.25)
    arriving = (problem.d_y, problem.d_h_n, problem.d_c_n)
    expected = run_engine(problem)
    packed = pack(problem)
    *outputs, tape = forward(problem, packed=packed)
    for other in ((None, None, None), (problem.d_y, None, None), arriving):
        got = _core.backward(tape, *other)
        forward(draw(replace(problem.case, T=20)), packed=packed)
    assert_same_results(named(problem.case, tuple(outputs), got), expected, problem.case)


@every_dtype
@every_cell
def test_a_pack_is_a_snapshot(cell: str, dtype: str):
    """Unchanged weights give the pack back; changed ones a new one, the old and its tape living."""
    problem = problem_of(cell, dtype, "two_layers_two_directions", (3, 37, 5, 33))
    packed = pack(problem)
    assert pack(problem, packed) is packed
    expected = run_engine(problem, packed)
    y, h_n, c_n, tape = forward(problem, packed=packed)
    for k in (len(problem.params) - 1, 0):
        changed = problem.params[k].reshape(-1)
        changed[-1] = np.nextafter(changed[-1], changed.dtype.type(9))  # a single bit of one weight
        newer = pack(problem, packed)
        assert newer is not packed, problem.case.param_names[k]
        assert_same_results(run_engine(problem, newer), run_engine(problem), problem.case)
    assert_same_results(run_engine(problem, packed), expected, problem.case)
    gradients = _core.backward(tape, problem.d_y, problem.d_h_n, problem.d_c_n)
    assert_same_results(named(problem.case, (y, h_n, c_n), gradients), expected, problem.case)


@every_dtype
@every_cell
def test_concurrent_calls_on_one_pack(cell: str, dtype: str):
    problems = [
        problem_of(cell, dtype, "two_layers_two_directions", (B, T, 5, 33), ragged=True)
        for B, T in ((3, 37), (8, 20), (1, 50), (16, 9))
    ]
    packed = pack(problems[0])
    for problem in problems:  # one set of weights for all
        problem.params = problems[0].params
    expected = [run_engine(problem, packed) for problem in problems]
    failures: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for k in range(12):
                i = (first + k) % len(problems)
                assert_same_results(run_engine(problems[i], packed), expected[i], problems[i].case)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures, failures[0]


@settings(max_examples=150)
@given(
    cell=st.sampled_from(CELLS),
    dtype=st.sampled_from(DTYPES),
    T=st.integers(1, 24),
    B=st.integers(1, 40),
    I=st.integers(1, 40),
    H=st.integers(1, 70),
    L=st.integers(1, 3),
    D=st.integers(1, 2),
    data=st.data(),
)
def test_any_problem(
    cell: str, dtype: str, T: int, B: int, I: int, H: int, L: int, D: int, data: Any
):
    """The laws of rows and chunks at sizes nobody chose."""
    ragged = data.draw(st.booleans(), "ragged")
    problem = draw(Case(cell, T, B, I, H, L, D, dtype, ragged=ragged))
    whole = run_engine(problem)
    rows = data.draw(st.lists(st.integers(0, B - 1), min_size=1, max_size=B), "rows")
    assert_rows(run_engine(take_rows(problem, rows)), whole, rows, (rows, problem.case))
    if D == 1:
        cuts = sorted(data.draw(st.lists(st.integers(0, T), max_size=3), "cuts"))
        assert_rows(run_chunks(problem, cuts), whole, np.arange(B), (cuts, problem.case))
