"""Optimizers, clipping and schedules: the papers' formulas, torch's, resuming."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from cases import SEED
from tolerances import ASSERT_CLOSE, TORCH_PARITY_FLOAT64
from training_runs import RNG

from fastrnn import training as tr

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


def test_constructor_sentences() -> None:
    parameters = {"w": np.zeros(2)}
    for make, words in (
        (lambda: tr.Adam(None), "Adam: parameters is a NoneType, expected a dict of name -> array"),
        (lambda: tr.SGD([np.zeros(2)]), "SGD: parameters is a list, expected a dict"),
        (lambda: tr.Adam(parameters, lr="a"), "Adam: lr is 'a', expected a finite number >= 0"),
        (lambda: tr.RMSProp(parameters, alpha=None), "RMSProp: alpha is None, expected a finite"),
    ):
        with pytest.raises(TypeError, match=words):
            make()
    assert tr.Adam(parameters, lr=np.float32(0.5)).lr == 0.5


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
