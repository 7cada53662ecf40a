"""Losses: gradients against differences, means, stability, masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cases import SEED
from tolerances import ASSERT_CLOSE, RELATIVE_FLOAT64
from training_runs import RNG, assert_gradient, central_difference

from fastrnn import training as tr


def loss_cases() -> list[Any]:
    rng = RNG(SEED)
    output = rng.normal(size=(4, 3, 5)) * 3
    position, element = rng.random((4, 3)) < 0.6, rng.random((4, 3, 5)) < 0.6
    classes = rng.integers(0, 5, (4, 3))
    numbers, bits = rng.normal(size=(4, 3, 5)), rng.random((4, 3, 5))
    cases = [(tr.cross_entropy, classes, m) for m in (None, position)]
    cases += [(tr.mse, numbers, m) for m in (None, position, element)]
    cases += [(tr.bernoulli, bits, m) for m in (None, position, element)]
    return [
        pytest.param(f, output, t, m, id=f"{f.__name__}-{'none' if m is None else m.ndim}")
        for f, t, m in cases
    ]


@pytest.mark.parametrize(("loss", "output", "target", "mask"), loss_cases())
def test_loss_gradient_and_mean(loss: Any, output: Any, target: Any, mask: Any) -> None:
    x = output.copy()
    value, grad = loss(x, target, mask)
    assert np.array_equal(x, output), "the output was changed"
    assert_gradient(grad, central_difference(lambda: loss(x, target, mask)[0], x))
    # the mean is over the unmasked elements: drop the others and it is the same
    if mask is not None:
        kept = (x[mask], target[mask])
        if mask.ndim == 3:
            kept = (kept[0][None], kept[1][None])
        assert math.isclose(value, loss(*kept)[0], rel_tol=RELATIVE_FLOAT64)
        where = mask if mask.ndim == 3 else np.broadcast_to(mask[..., None], x.shape)
        assert (grad[~where] == 0).all()


@pytest.mark.parametrize("loss", [tr.cross_entropy, tr.mse, tr.bernoulli])
def test_loss_float32_and_empty(loss: Any) -> None:
    rng = RNG(1)
    output = rng.normal(size=(50, 20, 9))
    target = rng.integers(0, 2, (50, 20) if loss is tr.cross_entropy else output.shape)
    exact, exact_grad = loss(output, target)
    value, grad = loss(output.astype(np.float32), target)
    rtol, atol = ASSERT_CLOSE["float32"]
    assert grad.dtype == np.float32
    assert math.isclose(value, exact, rel_tol=rtol)
    np.testing.assert_allclose(grad, exact_grad, rtol=rtol, atol=atol * np.abs(exact_grad).max())
    value, grad = loss(output, target, np.zeros((50, 20), bool))
    assert value == 0.0
    assert not grad.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_are_stable(dtype: Any) -> None:
    big = np.finfo(dtype).max / 4
    logits = np.array([[big, -big, 0.0], [-big, -big, -big]], dtype)
    value, grad = tr.cross_entropy(logits, np.array([0, 1]))
    assert math.isclose(value, math.log(3) / 2, rel_tol=1e-6)
    assert np.isfinite(grad).all()
    value, grad = tr.bernoulli(np.array([big, -big, 200.0], dtype), np.array([1, 0, 0]))
    assert math.isclose(value, 200 / 3, rel_tol=1e-6)
    assert np.isfinite(grad).all()


def test_masked_targets_may_be_anything() -> None:
    mask = np.array([True, False])
    value, grad = tr.cross_entropy(np.zeros((2, 3)), np.array([1, -100]), mask)
    assert math.isclose(value, math.log(3))
    assert not grad[1].any()
    assert tr.mse(np.zeros(2), np.array([1.0, np.nan]), mask)[0] == 1.0
    assert np.isfinite(tr.bernoulli(np.zeros(2), np.array([1.0, np.nan]), mask)[0])
