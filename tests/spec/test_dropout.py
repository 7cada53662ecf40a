"""Dropout between layers: one mask in the reference and the engine, and the same in backward."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from cases import CELLS, DTYPES, Case, draw, solve
from engine import assert_same_bits, assert_same_results, forward, run_engine
from test_kernels import assert_agrees
from tolerances import KEEP_RATE_SIGMAS

from fastrnn import _core, reference

SEEDS = [0, 1, 0xFFFFFFFF, 0x1_0000_0000, 0x9E3779B97F4A7C15, 2**64 - 1]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # known answers published with Random123, file kat_vectors, philox4x32 10
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_known_answers(counter: str, key: str, expected: str):
    words = [[int(w, 16) for w in text.split()] for text in (counter, key, expected)]
    got = reference.philox4x32(np.array([words[0]], np.uint32), (words[1][0], words[1][1]))
    assert got.tolist() == [words[2]]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_of_engine_and_reference_are_the_same_bits(dtype: str, seed: int):
    # starts off a block of four, and beyond 2^34 elements, where the counter's second word moves
    for n0 in (0, 1, 2, 3, 1021, 2**32 - 3, 2**34 - 2, 2**36 + 5):
        for layer in (1, 2, 7):
            for p in (0.0, 1e-9, 0.1, 1 / 3, 0.5, 0.999999, 1.0):
                args = (n0, 133, layer, p, seed, dtype)
                context = f"(n0, count, layer, p, seed, dtype) = {args}"
                expected = reference.dropout_mask(*args)
                assert_same_bits("mask", _core._dropout_mask(*args), expected, context)


def test_masks_differ_by_seed_and_layer_and_not_by_where_a_range_starts():
    masks = {
        (layer, seed): reference.dropout_mask(0, 400, layer, 0.5, seed).tobytes()
        for layer in (1, 2, 3)
        for seed in SEEDS
    }
    assert len(set(masks.values())) == len(masks)
    whole = reference.dropout_mask(0, 400, 1, 0.5, 5)
    for n0 in (1, 2, 3, 4, 77):
        assert np.array_equal(reference.dropout_mask(n0, 300, 1, 0.5, 5), whole[n0 : n0 + 300])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_keep_rate_and_scale(p: float):
    n = 1_000_000
    for seed in SEEDS[:3]:
        mask = _core._dropout_mask(0, n, 1, p, seed, "float64")
        assert set(np.unique(mask)) == {0.0, 1.0 / (1.0 - p)}
        deviation = abs((mask > 0).mean() - (1 - p)) / math.sqrt(p * (1 - p) / n)
        assert deviation <= KEEP_RATE_SIGMAS, f"{deviation} sigmas at p = {p}, seed = {seed}"


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("dropout", [0.2, 0.7, 1.0])
@pytest.mark.parametrize("L", [2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_engine_agrees_with_the_reference(
    cell: str, dtype: str, L: int, dropout: float, batch_first: bool
):
    """Masks in real time order whatever the layout and the lengths, and replayed in backward."""
    for seed in (3, SEEDS[-2]):
        case = Case(cell, 9, 5, 3, 17, L, 2, dtype, batch_first=batch_first, ragged=True)
        problem, exact = solve(replace(case, dropout=dropout, dropout_seed=seed))
        assert_agrees(problem, exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_when_nothing_is_dropped(cell: str, dtype: str):
    """p = 0, a single layer and inference give the bits of no dropout at all."""
    one = draw(Case(cell, 9, 5, 3, 17, dtype=dtype))
    p = replace(one, case=replace(one.case, dropout=0.5))
    assert_same_results(run_engine(p), run_engine(one), p.case)
    two = draw(Case(cell, 9, 5, 3, 17, L=2, dtype=dtype))
    p = replace(two, case=replace(two.case, dropout=0.5))
    assert_same_bits("y", forward(p, training=False)[0], forward(two)[0], p.case)
    assert not np.array_equal(forward(p)[0], forward(two)[0])


@pytest.mark.parametrize("cell", CELLS)
def test_when_everything_is_dropped(cell: str):
    """The upper layer then sees zeros, and nothing but biases and states moves it."""
    problem = draw(Case(cell, 9, 5, 3, 17, L=2, dropout=1.0))
    got = run_engine(problem)
    above = replace(
        problem,
        case=replace(problem.case, L=1, I=17, dropout=0.0),
        params=problem.params[4:],
        x=np.zeros((9, 5, 17)),
        h_0=problem.h_0[1:],
        c_0=None if problem.c_0 is None else problem.c_0[1:],
    )
    assert_same_bits("y", got["y"], forward(above)[0], problem.case)
    assert not got["d_weight_ih_l1"].any()
    without = run_engine(replace(problem, d_h_n=None, d_c_n=None))
    assert not without["d_x"].any()
    assert not without["d_weight_hh_l0"].any()


@pytest.mark.parametrize("cell", CELLS)
def test_seeds_draw_different_masks(cell: str):
    problem = draw(Case(cell, 9, 5, 3, 17, L=2, dropout=0.5))
    outputs = {
        forward(replace(problem, case=replace(problem.case, dropout_seed=seed)))[0].tobytes()
        for seed in SEEDS
    }
    assert len(outputs) == len(SEEDS)
