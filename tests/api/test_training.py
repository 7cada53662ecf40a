"""Layers, losses, optimizers, clipping, schedules and the loop: exact where exact, and learning."""

from __future__ import annotations

import itertools
import math
import os
import signal
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import SEED
from tolerances import (
    ASSERT_CLOSE,
    DIFFERENCE_RELATIVE,
    DIFFERENCE_STEP,
    KEEP_RATE_SIGMAS,
    RELATIVE_FLOAT64,
    TORCH_PARITY_FLOAT64,
    relative_error,
)

import fastrnn
from fastrnn import training as tr

RNG = np.random.default_rng


def central_difference(f: Callable[[], float], array: np.ndarray) -> np.ndarray:
    """Gradient of f by every element of array (changed and put back), five-point stencil."""
    out = np.zeros_like(array)
    s = DIFFERENCE_STEP
    for index in np.ndindex(array.shape):
        kept = array[index]
        value = {}
        for k in (-2, -1, 1, 2):
            array[index] = kept + k * s
            value[k] = f()
        array[index] = kept
        out[index] = (8 * (value[1] - value[-1]) - (value[2] - value[-2])) / (12 * s)
    return out


def assert_gradient(got: np.ndarray, numeric: np.ndarray, name: str = "") -> None:
    assert got.shape == numeric.shape, name
    assert relative_error(got, numeric) <= DIFFERENCE_RELATIVE, name


# ---- losses


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


# ---- layers and chains


def tiny_model(dropout: float = 0.0, dtype: Any = np.float64, layers: int = 1) -> tr.Sequential:
    return tr.Sequential(
        embedding=tr.Embedding(7, 3, dtype=dtype, rng=1),
        lstm=fastrnn.LSTM(3, 5, layers, dropout=dropout if layers > 1 else 0, dtype=dtype, rng=2),
        dropout=tr.Dropout(dropout, seed=3),
        gru=fastrnn.GRU(5, 4, dtype=dtype, rng=4),
        head=tr.Linear(4, 7, dtype=dtype, rng=5),
    )


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


# ---- optimizers, clipping, schedules


OPTIMIZERS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "sgd": (tr.SGD, "SGD", {"lr": 0.1}),
    "sgd-momentum": (tr.SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "sgd-nesterov": (tr.SGD, "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    "rmsprop": (tr.RMSProp, "RMSprop", {"lr": 0.01}),
    "rmsprop-momentum": (
        tr.RMSProp,
        "RMSprop",
        {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1, "eps": 1e-6},
    ),
    "adam": (tr.Adam, "Adam", {"lr": 0.01}),
    "adam-decay": (tr.Adam, "Adam", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    "adamw": (tr.AdamW, "AdamW", {"lr": 0.01, "weight_decay": 0.1}),
}


def written_out(kind: str, p: np.ndarray, gradients: list[np.ndarray], **o: Any) -> np.ndarray:
    """The formulas of the papers, one array at a time, nothing in place."""
    m = v = buffer = np.zeros_like(p)
    decay, momentum = o.get("weight_decay", 0.0), o.get("momentum", 0.0)
    for t, g in enumerate(gradients, 1):
        if kind == "AdamW":
            p = p - o["lr"] * decay * p
        else:
            g = g + decay * p
        if kind == "SGD":
            buffer = momentum * buffer + g
            p = p - o["lr"] * (g + momentum * buffer if o.get("nesterov") else buffer)
        elif kind == "RMSprop":
            alpha = o.get("alpha", 0.99)
            v = alpha * v + (1 - alpha) * g * g
            buffer = momentum * buffer + g / (np.sqrt(v) + o.get("eps", 1e-8))
            p = p - o["lr"] * buffer
        else:
            one, two = o.get("betas", (0.9, 0.999))
            m, v = one * m + (1 - one) * g, two * v + (1 - two) * g * g
            p = p - o["lr"] * (m / (1 - one**t)) / (np.sqrt(v / (1 - two**t)) + 1e-8)
    return p


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_optimizer(name: str, dtype: Any) -> None:
    """Against the formulas written out, and against torch.optim when torch is there."""
    own, kind, options = OPTIMIZERS[name]
    rng = RNG(SEED)
    start = {"w": rng.normal(size=(130, 150)).astype(dtype), "b": rng.normal(size=7).astype(dtype)}
    gradients = [
        {k: rng.normal(size=v.shape).astype(dtype) for k, v in start.items()} for _ in range(12)
    ]
    parameters = {k: v.copy() for k, v in start.items()}
    optimizer = own(parameters, **options)
    for grads in gradients:
        kept = {k: g.copy() for k, g in grads.items()}
        optimizer.step(grads)
        assert all(np.array_equal(kept[k], grads[k]) for k in kept), "a gradient was changed"
    rtol, atol = ASSERT_CLOSE["float32"] if dtype == np.float32 else TORCH_PARITY_FLOAT64
    for k in start:
        exact = written_out(kind, start[k].astype(np.float64), [g[k] for g in gradients], **options)
        np.testing.assert_allclose(parameters[k], exact, rtol=rtol, atol=atol)

    torch = pytest.importorskip(
        "torch", reason="the comparison with torch.optim needs torch", exc_type=ImportError
    )
    theirs = {k: torch.nn.Parameter(torch.from_numpy(v.copy())) for k, v in start.items()}
    torch_optimizer = getattr(torch.optim, kind)(list(theirs.values()), **options)
    for grads in gradients:
        for k, p in theirs.items():
            p.grad = torch.from_numpy(grads[k].copy())
        torch_optimizer.step()
    for k, p in theirs.items():
        np.testing.assert_allclose(parameters[k], p.detach().numpy(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_resumes_bitwise(name: str) -> None:
    own, _, options = OPTIMIZERS[name]
    rng = RNG(1)
    gradients = [{"w": rng.normal(size=(9, 9)).astype(np.float32)} for _ in range(6)]
    whole = {"w": np.ones((9, 9), np.float32)}
    optimizer = own(whole, **options)
    for grads in gradients[:3]:
        optimizer.step(grads)
    saved, state = {"w": whole["w"].copy()}, optimizer.state_dict()
    resumed = own(saved, lr=7.0, **({"momentum": 0.1} if options.get("momentum") else {}))
    resumed.load_state_dict(state)
    for grads in gradients[3:]:
        optimizer.step(grads)
        resumed.step(grads)
    assert np.array_equal(whole["w"], saved["w"])
    assert not np.array_equal(whole["w"], np.ones((9, 9), np.float32))


def test_optimizer_refuses() -> None:
    parameters = {"w": np.zeros((2, 2), np.float32)}
    adam = tr.Adam(parameters)
    for grads, error in (
        ({}, ValueError),
        ({"w": np.zeros(4, np.float32)}, ValueError),
        ({"w": np.zeros((2, 2))}, TypeError),
    ):
        with pytest.raises(error, match=r"Adam\.step: .*w"):
            adam.step(grads)
    assert adam.steps == 0
    for bad in ({"lr": -1.0}, {"lr": math.nan}, {"betas": (1.0, 0.9)}, {"eps": -1}):
        with pytest.raises(ValueError, match="expected"):
            tr.Adam(parameters, **bad)
    with pytest.raises(ValueError, match="C-contiguous"):
        tr.SGD({"w": np.zeros((3, 2), np.float32).T})
    with pytest.raises(ValueError, match="'sgd', expected 'adam'"):
        adam.load_state_dict(tr.SGD(parameters).state_dict())


def test_clip() -> None:
    rng = RNG(0)
    grads = {k: rng.normal(size=s).astype(np.float32) for k, s in (("a", (30, 4)), ("b", 50))}
    norm = math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in grads.values()))
    kept = {k: g.copy() for k, g in grads.items()}
    rtol = ASSERT_CLOSE["float32"][0]
    assert math.isclose(tr.clip_grad_norm(grads, 1e9), norm, rel_tol=rtol)
    assert all(np.array_equal(grads[k], kept[k]) for k in kept)
    assert math.isclose(tr.clip_grad_norm(grads, 0.5), norm, rel_tol=rtol)
    assert math.isclose(tr.clip_grad_norm(grads, math.inf), 0.5, rel_tol=1e-5)
    for k in kept:
        np.testing.assert_allclose(grads[k], kept[k] * (0.5 / norm), rtol=1e-5)
    tr.clip_grad_value(grads, 0.01)
    assert max(float(np.abs(g).max()) for g in grads.values()) == np.float32(0.01)
    huge = {"a": np.full(3, 1e30, np.float32)}  # the square overflows float32
    assert math.isclose(tr.clip_grad_norm(huge, 1.0), math.sqrt(3) * 1e30, rel_tol=1e-6)
    assert math.isnan(tr.clip_grad_norm({"a": np.array([np.nan, 1.0])}, 1.0))


def test_clip_like_torch() -> None:
    torch = pytest.importorskip(
        "torch", reason="the comparison with torch needs torch", exc_type=ImportError
    )
    grads = {"a": RNG(0).normal(size=(30, 4)), "b": RNG(1).normal(size=50)}
    theirs = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in grads.values()]
    for p, g in zip(theirs, grads.values(), strict=True):
        p.grad = torch.from_numpy(g.copy())
    norm = torch.nn.utils.clip_grad_norm_(theirs, 0.7)
    rtol = TORCH_PARITY_FLOAT64[0]
    assert math.isclose(tr.clip_grad_norm(grads, 0.7), float(norm), rel_tol=rtol)
    for p, g in zip(theirs, grads.values(), strict=True):
        np.testing.assert_allclose(g, p.grad.numpy(), rtol=rtol)


def test_schedules() -> None:
    cosine = tr.Cosine(2.0, warmup=4, floor=0.2)
    assert [cosine(s, None) for s in range(4)] == [0.5, 1.0, 1.5, 2.0]
    rates = [cosine(s, 104) for s in range(4, 105)]
    assert rates[0] == 2.0
    assert math.isclose(rates[50], 1.1)
    assert math.isclose(rates[-1], 0.2)
    assert all(a > b for a, b in itertools.pairwise(rates))
    with pytest.raises(ValueError, match="total is None"):
        cosine(4, None)
    step = tr.Step(1.0, every=3, factor=0.1)
    assert [round(step(s), 12) for s in range(7)] == [1, 1, 1, 0.1, 0.1, 0.1, 0.01]


def test_plateau_like_torch() -> None:
    torch = pytest.importorskip(
        "torch", reason="the comparison with torch needs torch", exc_type=ImportError
    )
    options = {"factor": 0.5, "patience": 2, "threshold": 1e-2}
    own = tr.ReduceOnPlateau(1.0, **options)
    their_optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(their_optimizer, **options)
    rates = []
    for loss in 3 * np.exp(-np.arange(40) / 6) + RNG(0).random(40) * 0.1:
        own.observe(float(loss))
        theirs.step(float(loss))
        rates.append(own(0))
        assert own(0) == their_optimizer.param_groups[0]["lr"]
    assert rates[-1] < rates[0]
    again = tr.ReduceOnPlateau(9.0, **options)
    again.load_state_dict(own.state_dict())
    assert (again.lr, again.best, again.waited) == (own.lr, own.best, own.waited)


# ---- the loop


def test_learns_the_adding_task(threads: None) -> None:
    """Two marked numbers among 20 are to be added; always answering 1 has a squared error of 1/6.

    (Hochreiter and Schmidhuber 1997, section 5.4.) A network that had not stored them over many
    steps could not beat that baseline.
    """
    T, H, baseline = 20, 32, 1 / 6
    fastrnn.set_num_threads(1)  # so small a network is quickest on one

    def task(n: int, seed: int) -> tr.ArrayBatches:
        rng = RNG(seed)
        x = np.zeros((T, n, 2), np.float32)
        x[:, :, 0] = rng.random((T, n))
        first, second = rng.integers(0, T // 2, n), rng.integers(T // 2, T, n)
        x[first, np.arange(n), 1] = x[second, np.arange(n), 1] = 1
        y = np.zeros((T, n, 1), np.float32)
        y[-1, :, 0] = (x[:, :, 0] * x[:, :, 1]).sum(0)
        mask = np.zeros((T, n, 1), bool)
        mask[-1] = True
        return tr.ArrayBatches(x, y, 50, mask=mask, seed=seed)

    lstm = fastrnn.LSTM(2, H, rng=1)
    lstm.bias_ih_l0[H : 2 * H] += 1  # an open forget gate at the start
    model = tr.Sequential(lstm, tr.Linear(H, 1, rng=2))
    history = tr.fit(
        model,
        task(2000, 0),
        tr.mse,
        tr.Adam(model.parameters()),
        epochs=14,
        schedule=tr.Cosine(2e-2, warmup=20),
        clip_norm=1.0,
        validation=task(500, 1),
        progress=False,
    )
    assert history.validation[0]["loss"] > baseline  # untrained
    assert history.validation[-1]["loss"] < 0.1 * baseline
    assert history.stop == "done"


def text_run(**options: Any) -> tuple[tr.Sequential, tr.History]:
    """A small text model with every kind of random number in it."""
    ids = RNG(0).integers(0, 7, 1200)
    model = tiny_model(dropout=0.3, dtype=np.float32, layers=2)
    defaults = {
        "steps": 61,
        "validate_every": 20,
        "schedule": tr.Cosine(1e-2, warmup=3),
        "clip_norm": 0.5,
        "validation": tr.TextWindows(ids, 1000, streams=3, length=16, burn_in=8),
        "progress": False,
    }
    streams = tr.TextStreams(ids[:1000], 4, 10, seed=5)
    optimizer = tr.Adam(model.parameters(), 1e-2)
    history = tr.fit(model, streams, tr.cross_entropy, optimizer, **{**defaults, **options})
    return model, history


def without_times(history: tr.History) -> dict[str, Any]:
    values = history.to_dict()
    for name in ("seconds", "train_seconds", "stop"):
        del values[name]
    return values


def test_run_is_reproducible_bitwise() -> None:
    (one, first), (two, second) = text_run(), text_run()
    for name, array in one.parameters().items():
        assert np.array_equal(array, two.parameters()[name]), name
    assert without_times(first) == without_times(second)
    assert [entry["step"] for entry in first.validation] == [0, 20, 40, 60, 61]
    other, _ = text_run(steps=62)
    assert not np.array_equal(one.state_dict()["head.weight"], other.state_dict()["head.weight"])


def test_timed_run_plans_steps_that_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that ticks a millisecond at each look, so that a busy machine does not matter."""
    ticks = itertools.count()
    clock = types.SimpleNamespace(perf_counter=lambda: next(ticks) * 1e-3)
    monkeypatch.setattr("fastrnn.training.loop.time", clock)
    monkeypatch.setattr(sys.modules["fastrnn.training.fit"], "time", clock)
    timed, history = text_run(steps=None, seconds=0.5, schedule=tr.Cosine(1e-2, warmup=20))
    assert history.stop == "done"
    assert history.planned == history.steps > 20
    assert 0.45 < history.seconds < 0.55
    again, _ = text_run(steps=history.planned, schedule=tr.Cosine(1e-2, warmup=20))
    for name, array in timed.parameters().items():
        assert np.array_equal(array, again.parameters()[name]), name


def test_stops() -> None:
    _, history = text_run(patience=1, schedule=None, steps=5000, validate_every=5)
    assert history.stop == "patience"
    assert history.since_best() == 1
    seen: list[float] = []
    _, history = text_run(callbacks=[lambda h, loss: seen.append(loss) or h.steps == 7])
    assert (history.stop, history.steps, len(seen)) == ("callback", 7, 7)


def test_restore_best() -> None:
    model, history = text_run(restore_best=True, validate_every=3, schedule=tr.Constant(0.1))
    ids = RNG(0).integers(0, 7, 1200)
    windows = tr.TextWindows(ids, 1000, streams=3, length=16, burn_in=8)
    assert tr.evaluate(model, windows, tr.cross_entropy) == history.best["loss"]
    assert history.best["step"] < history.steps


def test_divergence_is_said() -> None:
    message = r"fit: the (loss|gradient norm) is (nan|inf) at step \d+; lower the learning rate"
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message):
        text_run(schedule=tr.Constant(1e38))


def test_fit_refuses() -> None:
    for bad, message in (
        ({"epochs": 2}, "exactly one"),
        ({"steps": None}, "exactly one"),
        ({"validate_every": 0}, "validate_every is 0"),
        ({"validation": None, "patience": 1}, "need validation"),
    ):
        with pytest.raises(ValueError, match=message):
            text_run(**bad)
    with pytest.raises(TypeError, match=r"pass Sequential\(model\)"):
        tr.fit(tr.Linear(1, 1), [(1, 1)], tr.mse, tr.SGD({"a": np.zeros(1)}), steps=1)


def test_interrupt_saves_at_a_step_and_resumes_bitwise(tmp_path: Any, capfd: Any) -> None:
    """Ctrl-C in a step: the step ends, a checkpoint is written; resumed it ends the same."""
    path = tmp_path / "a.safetensors"

    def interrupt(history: tr.History, loss: float) -> None:
        if history.steps == 33:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        text_run(checkpoint=path, callbacks=[interrupt])
    assert signal.getsignal(signal.SIGINT) is before
    assert f"interrupted after step 33: saved {path}" in capfd.readouterr().err
    resumed, second = text_run(checkpoint=path, resume=tr.load_checkpoint(path))
    whole, first = text_run()
    for name, array in whole.parameters().items():
        assert np.array_equal(array, resumed.parameters()[name]), name
    assert without_times(first) == without_times(second)


def test_blas_threads_are_limited_and_given_back() -> None:
    control = pytest.importorskip("threadpoolctl", reason="the limit needs threadpoolctl")

    def threads() -> list[int]:
        return [p["num_threads"] for p in control.threadpool_info() if p["user_api"] == "blas"]

    with control.threadpool_limits(3, user_api="blas"):
        before, inside = threads(), []
        text_run(steps=2, blas_threads=1, callbacks=[lambda h, loss: inside.append(threads())])
        assert threads() == before
    assert inside == [[1] * len(before)] * 2


def test_runs_in_a_thread() -> None:
    results: list[Any] = []
    worker = threading.Thread(target=lambda: results.append(text_run(steps=5)))
    worker.start()
    worker.join()
    assert results[0][1].steps == 5


def test_progress_bar_shows_loss_speed_and_time_left(capsys: Any) -> None:
    pytest.importorskip("tqdm", reason="the bar needs tqdm")
    text_run(progress=True, unit="chars")
    shown = capsys.readouterr().err
    for part in ("100%", "61/61 steps", "loss 1.", "validation 1.", "chars/s", "<00:00"):
        assert part in shown, shown
