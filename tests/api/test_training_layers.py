"""Embedding, OneHot, Linear, Dropout and chains of layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cases import SEED
from tolerances import KEEP_RATE_SIGMAS, RELATIVE_FLOAT64, relative_error
from training_runs import RNG, assert_gradient, central_difference, tiny_model

import fastrnn
from fastrnn import training as tr
from fastrnn.reference.philox import dropout_mask


def test_chain_gradients() -> None:
    """A chain of everything, dropout on: parameters, initial states; from output, final states."""
    rng = RNG(SEED)
    model = tiny_model(dropout=0.4)
    x, target = rng.integers(0, 7, (5, 2)), rng.integers(0, 7, (5, 2))
    state: Any = (
        (rng.normal(size=(1, 2, 5)), rng.normal(size=(1, 2, 5))),
        rng.normal(size=(1, 2, 4)),
    )

    def loss() -> float:
        model.set_rng_state({"dropout.calls": 0, **lstm_rng})
        y, ((h, c), g), _ = model.forward(x, state, lengths=[5, 3])
        ends = sum(float((w * s).sum()) for w, s in zip(weights, (h, c, g), strict=True))
        return tr.cross_entropy(y, target)[0] + ends

    weights = [rng.normal(size=s) for s in ((1, 2, 5), (1, 2, 5), (1, 2, 4))]
    d_state = ((weights[0], weights[1]), weights[2])
    lstm_rng = {k: v for k, v in model.rng_state().items() if k != "dropout.calls"}
    y, _, tape = model.forward(x, state, lengths=[5, 3])
    _, d_y = tr.cross_entropy(y, target)
    for _ in range(2):  # the tape is not used up, the mask is made again
        d_x, ((d_h, d_c), d_g), grads = model.backward(tape, d_y, d_state)
        assert d_x is None
        assert set(grads) == set(model.parameters())
        for name, array in model.parameters().items():
            assert_gradient(grads[name], central_difference(loss, array), name)
        for got, array in ((d_h, state[0][0]), (d_c, state[0][1]), (d_g, state[1])):
            assert_gradient(got, central_difference(loss, array))


def test_linear_input_gradient_and_torch_shapes() -> None:
    layer = tr.Linear(3, 2, dtype=np.float64, rng=0)
    x = RNG(1).normal(size=(4, 5, 3))
    weight = RNG(2).normal(size=(4, 5, 2))
    y, tape = layer.forward(x)
    d_x, grads = layer.backward(tape, weight)
    assert_gradient(d_x, central_difference(lambda: float((layer(x) * weight).sum()), x))
    assert {k: v.shape for k, v in grads.items()} == {"weight": (2, 3), "bias": (2,)}
    np.testing.assert_allclose(y, x @ layer.weight.T + layer.bias, rtol=RELATIVE_FLOAT64)
    assert list(tr.Linear(3, 2, bias=False).parameters()) == ["weight"]


def test_one_hot_is_an_embedding_of_unit_vectors() -> None:
    x = RNG(0).integers(0, 6, (3, 4))
    embedding = tr.Embedding(6, 6, rng=0)
    embedding.weight[...] = np.eye(6)
    assert np.array_equal(tr.OneHot(6)(x), embedding(x))


def test_embedding_gradient_adds_up() -> None:
    rng = RNG(3)
    x, d_y = rng.integers(0, 900, (40, 30)), rng.normal(size=(40, 30, 4))
    embedding = tr.Embedding(1000, 4, dtype=np.float64, rng=0)
    exact = np.zeros((1000, 4))
    np.add.at(exact, x, d_y)
    _, grads = embedding.backward(embedding.forward(x)[1], d_y)
    assert relative_error(grads["weight"], exact) <= RELATIVE_FLOAT64


def test_dropout() -> None:
    x = np.ones((50, 40, 30), np.float32)
    drop = tr.Dropout(0.3, seed=9)
    first, tape = drop.forward(x)
    second, _ = drop.forward(x)
    assert not np.array_equal(first, second)
    kept = first != 0
    assert np.array_equal(np.unique(first[kept]), [np.float32(1 / 0.7)])
    sigma = math.sqrt(0.3 * 0.7 / x.size)
    assert abs(kept.mean() - 0.7) < KEEP_RATE_SIGMAS * sigma
    assert np.array_equal(drop.backward(tape, x)[0], first)
    assert drop(x) is x
    again = tr.Dropout(0.3, seed=9)
    again.set_rng_state({"calls": 1})
    assert np.array_equal(again.forward(x)[0], second)
    # one generator in the whole library: the reference's, with the call in place of the layer
    for call, got in enumerate((first, second)):
        mask = dropout_mask(0, x.size, call, 0.3, 9, np.float32)
        assert np.array_equal(mask.reshape(x.shape), got)


def test_dropout_of_one_and_of_none() -> None:
    x = np.ones((3, 4))
    y, tape = tr.Dropout(1.0).forward(x)
    assert not y.any()
    assert y.dtype == x.dtype
    assert not tr.Dropout(1.0).backward(tape, x)[0].any()
    assert tr.Dropout(0.0).forward(x)[0] is x
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"Dropout: p is .*expected a probability in \[0, 1\]"):
            tr.Dropout(p)


def test_assigned_parameters_are_those_that_are_trained() -> None:
    """The optimizer holds the arrays: a new value goes into them."""
    for layer, name in (
        (fastrnn.LSTM(3, 4, rng=0), "weight_hh_l0"),
        (fastrnn.GRUCell(3, 4, rng=0), "bias_ih"),
        (tr.Linear(3, 4, rng=0), "bias"),
        (tr.Embedding(3, 4, rng=0), "weight"),
    ):
        sgd = tr.SGD(layer.parameters(), lr=1.0)
        value = np.full_like(getattr(layer, name), 5)
        setattr(layer, name, value)
        sgd.step({k: np.ones_like(v) for k, v in layer.parameters().items()})
        assert (getattr(layer, name) == 4).all(), type(layer)
        assert (value == 5).all()
        with pytest.raises(ValueError, match=rf"{type(layer).__name__}: {name} has "):
            setattr(layer, name, np.ones((9, 9), np.float32))


def test_state_dicts_are_loaded_by_one_loader() -> None:
    model = tiny_model()
    found = model.load_state_dict({"head.bias": np.ones(7), "x": np.ones(1)}, strict=False)
    assert found.unexpected_keys == ["x"]
    assert "head.weight" in found.missing_keys
    assert (model.pieces["head"].bias == 1).all()
    before = model.state_dict()
    for bad, error, words in (
        (
            {**before, "x": 1},
            ValueError,
            r"Sequential\.load_state_dict: .* unexpected x, exp",
        ),
        ({**before, "head.bias": np.ones(8)}, ValueError, r"head\.bias has shape \(8,\), expected"),
        ({**before, "head.bias": np.ones(7, int)}, TypeError, r"head\.bias has dtype int64"),
        (None, TypeError, r"state_dict is None, expected a dict"),
    ):
        with pytest.raises(error, match=words):
            model.load_state_dict(bad)
        assert all(np.array_equal(before[k], v) for k, v in model.parameters().items())
    with pytest.raises(ValueError, match=r"Linear\.load_state_dict: state_dict has no bias, exp"):
        tr.Linear(2, 2).load_state_dict({"weight": np.ones((2, 2))})
    assert tr.OneHot(3).load_state_dict({}) == ([], [])


def test_windows_with_carried_state_equal_one_call() -> None:
    ids = RNG(5).integers(0, 7, 203)
    model = tiny_model()

    def loss(length: int, carry: bool) -> float:
        streams = tr.TextStreams(ids, 2, length)
        batches = [b._replace(carry=b.carry and carry) for b in streams(0)]
        return tr.evaluate(model, batches, tr.cross_entropy)

    x, y = ids[:200].reshape(2, 100).T, ids[1:201].reshape(2, 100).T
    whole = tr.cross_entropy(model(x)[0], y)[0]
    parts = [tr.Batch(x[i : i + 25], y[i : i + 25], carry=i > 0) for i in range(0, 100, 25)]
    assert math.isclose(tr.evaluate(model, parts, tr.cross_entropy), whole, rel_tol=1e-13)
    assert loss(20, carry=True) != loss(20, carry=False)
