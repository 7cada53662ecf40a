"""What torch's users do with a layer beside calling it: autocast, tying, weight_norm, writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from proof_subject import IS_CONTROL, cls, subject, torch_cls
from tolerances import AUTOCAST, LOSS_CURVES

torch = pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)

T, B, I, H = 6, 3, 8, 16
NAMES = ["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"]
every = pytest.mark.parametrize("name", NAMES)


def make(name: str, kind: Any = cls, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(name)(I, H, **options)


def inputs(name: str) -> Any:
    generator = torch.Generator().manual_seed(1)
    shape = (B, I) if name.endswith("Cell") else (T, B, I)
    return torch.randn(shape, generator=generator)


def first(outputs: Any) -> Any:
    return outputs if isinstance(outputs, torch.Tensor) else outputs[0]


@every
def test_autocast(name: str) -> None:
    """Under bfloat16 autocast: torch's output dtype, its numbers to bfloat16, float32 gradients."""
    x = inputs(name)
    ours, theirs = make(name), make(name, torch_cls)
    exact = first(theirs(x))
    outputs = []
    for module in (ours, theirs):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs.append(first(module(x)))
        outputs[-1].float().square().sum().backward()
        assert all(p.grad.dtype == torch.float32 for p in module.parameters())
    assert outputs[0].dtype == outputs[1].dtype
    rtol, atol = AUTOCAST
    torch.testing.assert_close(outputs[0].float(), exact, rtol=rtol, atol=atol)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        size = float(b.grad.abs().max())
        torch.testing.assert_close(a.grad, b.grad, rtol=rtol, atol=atol * size)


@every
def test_autocast_that_is_off_changes_nothing(name: str) -> None:
    module, x = make(name), inputs(name)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=False):
        assert torch.equal(first(module(x)), first(module(x)))
        assert first(module(x)).dtype == torch.float32


@every
def test_inference_mode_and_no_grad(name: str) -> None:
    """The bits of the recorded call; to rounding where that one alone is torch.nn's."""
    module, x = make(name), inputs(name)
    expected, recorded = first(module(x)), path(module, x)
    assert expected.requires_grad
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            found, same_path = first(module(x)), path(module, x) == recorded
        assert not found.requires_grad
        assert same_path == (IS_CONTROL or name != "RNNCell")
        if same_path:
            assert torch.equal(found, expected)
        torch.testing.assert_close(found, expected.detach())


def path(module: Any, x: Any) -> Any:
    """Whose code runs this call."""
    return "torch.nn" if IS_CONTROL else subject().explain(module, x)["path"]


@every
def test_frozen_parameters_get_no_gradient(name: str) -> None:
    module, theirs, x = make(name), make(name, torch_cls), inputs(name)
    for chosen in (module, theirs):
        next(chosen.parameters()).requires_grad_(False)
        first(chosen(x)).square().sum().backward()
    assert next(module.parameters()).grad is None
    for a, b in zip(list(module.parameters())[1:], list(theirs.parameters())[1:], strict=True):
        torch.testing.assert_close(a.grad, b.grad)


WRITES: dict[str, Callable[[Any], Any]] = {
    "in place": lambda p: p.add_(0.5),
    "to a view": lambda p: p[0].fill_(0.25),
    "new data": lambda p: setattr(p, "data", p.data + 1),
    "through data": lambda p: p.data.mul_(0.5),  # which the version counter of p does not count
    "through NumPy": lambda p: p.detach().numpy().__setitem__((0, 0), -1.0),  # nor this
}


@every
@pytest.mark.parametrize("way", WRITES)
def test_writes_to_a_parameter_are_noticed(name: str, way: str) -> None:
    """As torch.nn does, which keeps nothing from call to call."""
    module, theirs, x = make(name), make(name, torch_cls), inputs(name)
    key = next(k for k, _ in module.named_parameters() if k.startswith("weight_ih"))
    for _ in range(2):
        before = first(module(x)).clone()
        for chosen in (module, theirs):
            with torch.no_grad():
                WRITES[way](getattr(chosen, key))
        torch.testing.assert_close(first(module(x)), first(theirs(x)))
        if way != "through NumPy" and way != "to a view":  # these write the same a second time
            assert not torch.equal(first(module(x)), before)
    for chosen in (module, theirs):
        setattr(chosen, key, torch.nn.Parameter(torch.ones_like(getattr(chosen, key)) / 8))
    torch.testing.assert_close(first(module(x)), first(theirs(x)))


@every
@pytest.mark.parametrize("way", [*WRITES, "one element through data"])
def test_writes_to_a_wide_parameter_are_noticed(name: str, way: str) -> None:
    """Under short calls too, where looking at all of the weights costs more than the call."""
    torch.manual_seed(0)
    wide = 512
    module, theirs = (kind(name)(wide, wide) for kind in (cls, torch_cls))
    theirs.load_state_dict(module.state_dict())
    x = torch.randn((1, wide) if name.endswith("Cell") else (1, 1, wide))
    key = next(k for k, _ in module.named_parameters() if k.startswith("weight_ih"))
    with torch.no_grad():
        for number in range(4):
            torch.testing.assert_close(first(module(x)), first(theirs(x)))
            for chosen in (module, theirs):
                parameter = getattr(chosen, key)
                if way in WRITES:
                    WRITES[way](parameter)
                else:
                    parameter.data[37 * number + 5, 11 * number + 3] += 1.0
        torch.testing.assert_close(first(module(x)), first(theirs(x)))


@every
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_training_steps_are_torchs(name: str, kind: str) -> None:
    module, theirs, x = make(name), make(name, torch_cls), inputs(name)
    curves = []
    for chosen in (module, theirs):
        optimizer = getattr(torch.optim, kind)(chosen.parameters(), lr=0.01)
        curve = []
        for _ in range(10):
            optimizer.zero_grad()
            value = (first(chosen(x)) - 0.5).square().mean()
            value.backward()
            optimizer.step()
            curve.append(value.detach())
        curves.append(torch.stack(curve))
    assert curves[0][-1] < curves[0][0]
    torch.testing.assert_close(*curves, rtol=LOSS_CURVES, atol=0)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_tied_weights(name: str) -> None:
    """One parameter in two layers: both gradients arrive in it."""
    found = []
    for kind in (cls, torch_cls):
        one, two = make(name, kind), make(name, kind)
        two.weight_ih_l0 = one.weight_ih_l0
        x = inputs(name)
        (first(one(x)) + 2 * first(two(x.flip(0)))).square().sum().backward()
        found.append(one.weight_ih_l0.grad)
        assert two.weight_ih_l0 is one.weight_ih_l0
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_weight_norm(name: str) -> None:
    from torch.nn.utils.parametrizations import weight_norm

    found = []
    for kind in (cls, torch_cls):
        layer = weight_norm(make(name, kind), "weight_hh_l0")
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        values = []
        for _ in range(3):
            optimizer.zero_grad()
            value = first(layer(inputs(name))).square().sum()
            value.backward()
            optimizer.step()
            values.append(value.detach())
        found.append(torch.stack(values))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_flatten_parameters_and_all_weights(name: str) -> None:
    module, theirs = make(name, num_layers=2), make(name, torch_cls, num_layers=2)
    expected = first(module(inputs(name)))
    assert module.flatten_parameters() is None
    assert torch.equal(first(module(inputs(name))), expected)
    for ours, others in zip(module.all_weights, theirs.all_weights, strict=True):
        assert [p.shape for p in ours] == [p.shape for p in others]
