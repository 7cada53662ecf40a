"""Embedding, OneHot, Linear, Dropout and chains of layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from cases import SEED
from tolerances import KEEP_RATE_SIGMAS, RELATIVE_FLOAT64, relative_error
from training_runs import RNG, assert_gradient, central_difference, tiny_model

from fastrnn import training as tr


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
    assert np.array_equal(
        np.unique(first[kept]), [np.float32(65536 / (65536 - round(0.3 * 65536)))]
    )
    sigma = math.sqrt(0.3 * 0.7 / x.size)
    assert abs(kept.mean() - 0.7) < KEEP_RATE_SIGMAS * sigma
    assert np.array_equal(drop.backward(tape, x)[0], first)
    assert drop(x) is x
    again = tr.Dropout(0.3, seed=9)
    again.set_rng_state({"calls": 1})
    assert np.array_equal(again.forward(x)[0], second)
    # the documented stream, word for word
    raw = np.random.Philox(key=9, counter=1 << 192).random_raw(x.size // 4)
    words = np.stack([(raw >> np.uint64(16 * k)) & np.uint64(0xFFFF) for k in range(4)], axis=1)
    assert np.array_equal(words.reshape(x.shape) >= round(0.3 * 65536), second != 0)


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
