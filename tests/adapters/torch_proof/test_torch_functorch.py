"""torch.func: ensembles by vmap, gradients per sample, against a loop over the same calls."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from proof_subject import beyond_torch, cls

torch = pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)
from torch.func import functional_call, grad, stack_module_state, vmap  # noqa: E402

MODELS, SAMPLES = 8, 6
T, B, I, H = 5, 3, 4, 6
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "LSTM": ("LSTM", {"num_layers": 2, "bidirectional": True}),
    "GRU": ("GRU", {"num_layers": 2, "bidirectional": True}),
    "RNN": ("RNN", {"num_layers": 2, "bidirectional": True}),
    "LSTMCell": ("LSTMCell", {}),
    "GRUCell": ("GRUCell", {}),
    "RNNCell": ("RNNCell", {}),
}
pytestmark = beyond_torch("batching rule of the recurrent layers that all of these need")
every = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, seed: int = 0) -> Any:
    name, options = KINDS[kind]
    torch.manual_seed(seed)
    return cls(name)(I, H, dtype=torch.float64, **options)


def inputs(kind: str, *before: int) -> Any:
    generator = torch.Generator().manual_seed(9)
    shape = (*before, B, I) if kind.endswith("Cell") else (*before, T, B, I)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def parts(outputs: Any) -> list[Any]:
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in parts(output)]


def assert_same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def ensemble(kind: str) -> tuple[list[Any], Any, Any]:
    """The models, their stacked parameters, and the call of one of them."""
    models = [make(kind, seed) for seed in range(MODELS)]
    weights, buffers = stack_module_state(models)
    bare = copy.deepcopy(models[0])

    def call(parameters: Any, x: Any) -> Any:
        return functional_call(bare, (parameters, buffers), (x,))

    return models, weights, call


@every
@pytest.mark.parametrize("own_inputs", [False, True])
def test_an_ensemble(kind: str, own_inputs: bool) -> None:
    """Eight models at once, on one input or each on its own."""
    models, weights, call = ensemble(kind)
    x = inputs(kind, MODELS) if own_inputs else inputs(kind)
    found = parts(vmap(call, in_dims=(0, 0 if own_inputs else None))(weights, x))
    single = [parts(m(x[i] if own_inputs else x)) for i, m in enumerate(models)]
    assert_same(found, [torch.stack(column) for column in zip(*single, strict=True)])


@every
def test_gradients_of_an_ensemble(kind: str) -> None:
    models, weights, call = ensemble(kind)
    x = inputs(kind)

    def value(parameters: Any) -> Any:
        return sum(part.square().sum() for part in parts(call(parameters, x)))

    found = vmap(grad(value))(weights)
    for i, model in enumerate(models):
        model.zero_grad()
        sum(part.square().sum() for part in parts(model(x))).backward()
        assert_same([found[n][i] for n in found], [p.grad for p in model.parameters()])


@every
def test_gradients_per_sample(kind: str) -> None:
    """vmap over grad of one model: the gradient that each sample alone would give."""
    model = make(kind)
    names = dict(model.named_parameters())
    x = inputs(kind, SAMPLES)
    weights = {name: p.detach() for name, p in names.items()}

    def value(parameters: Any, sample: Any) -> Any:
        outputs = functional_call(model, parameters, (sample,))
        return sum(part.square().sum() for part in parts(outputs))

    found = vmap(grad(value), in_dims=(None, 0))(weights, x)
    for i in range(SAMPLES):
        model.zero_grad()
        sum(part.square().sum() for part in parts(model(x[i]))).backward()
        assert_same([found[n][i] for n in found], [p.grad for p in model.parameters()])


@every
def test_vmap_over_another_axis(kind: str) -> None:
    """in_dims and out_dims that are not 0."""
    model = make(kind)
    x = inputs(kind, SAMPLES)
    moved = x.movedim(0, -1)
    found = vmap(lambda given: parts(model(given))[0], in_dims=-1, out_dims=1)(moved)
    expected = torch.stack([parts(model(sample))[0] for sample in x], 1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_vmap_with_lengths(kind: str) -> None:
    model = make(kind)
    x = inputs(kind, SAMPLES)
    lengths = torch.tensor([[1 + (i + b) % T for b in range(B)] for i in range(SAMPLES)])
    found = parts(vmap(lambda given, rows: model(given, lengths=rows))(x, lengths))
    single = [parts(model(a, lengths=n)) for a, n in zip(x, lengths, strict=True)]
    assert_same(found, [torch.stack(column) for column in zip(*single, strict=True)])
