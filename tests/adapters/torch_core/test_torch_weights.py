"""Packed weights follow the parameters, whoever writes to them and however."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import fastrnn.torch as ft
from fastrnn.torch import _weights
from fastrnn.torch._weights import held_by

T, B, I, H = 3, 2, 4, 6


def as_numpy(p: Any) -> None:
    p.detach().numpy()[0, 1] += 1


def one_element_of_data(p: Any) -> None:
    p.data[2, 1] -= 1


def no_grad(p: Any) -> None:
    with torch.no_grad():
        p[0, 0] += 1


def inference(p: Any) -> None:
    with torch.inference_mode():
        p.mul_(2)


def without_a_version(p: Any) -> None:
    with torch.autograd._unsafe_preserve_version_counter(p), torch.no_grad():
        p.add_(1)


def other_memory(p: Any) -> None:
    p.data = torch.randn_like(p)


WRITES: list[Callable[[Any], None]] = [
    as_numpy,
    one_element_of_data,
    no_grad,
    inference,
    without_a_version,
    other_memory,
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("name", ["LSTM", "GRUCell"])
def test_no_write_goes_unnoticed(name: str, write: Callable[[Any], None]) -> None:
    module: Any = getattr(ft, name)(I, H)
    twin = getattr(torch.nn, name)(I, H)
    x = torch.randn(T, B, I) if name == "LSTM" else torch.randn(B, I)
    module(x)
    for parameter in [module.weight_hh_l0] if name == "LSTM" else [module.weight_hh]:
        write(parameter)
    twin.load_state_dict(module.state_dict())
    with torch.no_grad():
        found, expected = module(x), twin(x)
    if name == "LSTM":
        found, expected = found[0], expected[0]
    assert torch.allclose(found, expected, atol=1e-5)


def test_unchanged_weights_are_packed_once() -> None:
    lstm, x = ft.LSTM(I, H), torch.randn(T, B, I)
    lstm(x)
    packed = held_by(lstm).packed
    lstm(x)
    assert held_by(lstm).packed is packed
    optimizer = torch.optim.SGD(lstm.parameters(), lr=0.1)
    lstm(x)[0].sum().backward()
    assert held_by(lstm).packed is packed
    optimizer.step()
    lstm(x)
    assert held_by(lstm).packed is not packed


def test_the_operators_notice_too_and_keep_little() -> None:
    x = torch.randn(T, B, I)
    lstm = ft.LSTM(I, H)
    twin = torch.nn.LSTM(I, H)

    def call() -> Any:
        form = ("lstm", 1, 1, False, 0.0, False)
        return torch.ops.fastrnn.scan(x, None, None, lstm._weights(), None, None, *form)[0]

    for write in WRITES:
        call()
        write(lstm.weight_hh_l0)
        twin.load_state_dict(lstm.state_dict())
        assert torch.allclose(call().detach(), twin(x)[0].detach(), atol=1e-5), write
    for _ in range(40):
        lstm = ft.LSTM(I, H)
        call()
    assert len(_weights._kept) <= _weights._MOST


def test_functional_call_uses_the_tensors_it_is_given() -> None:
    lstm, x = ft.LSTM(I, H), torch.randn(T, B, I)
    for _ in range(5):
        other = {name: torch.randn_like(p) for name, p in lstm.named_parameters()}
        twin = torch.nn.LSTM(I, H)
        twin.load_state_dict(other)
        found = torch.func.functional_call(lstm, other, (x,))[0]
        assert torch.allclose(found, twin(x)[0].detach(), atol=1e-5)


def test_memory_that_is_not_there_is_refused() -> None:
    lstm = ft.LSTM(I, H)
    lstm.weight_hh_l0.untyped_storage().resize_(0)
    with pytest.raises((RuntimeError, ValueError)):
        lstm(torch.randn(T, B, I))


WIDE = 160  # the weights leave the first cache


def fill(p: Any) -> None:
    p.data.copy_(torch.randn_like(p))


def decay(p: Any) -> None:
    p.data.mul_(0.5)


def one_element(p: Any) -> None:
    p.data[7, 11] += 1.0


@pytest.mark.parametrize(
    "write", [fill, decay, one_element, no_grad, inference, without_a_version, other_memory]
)
@pytest.mark.parametrize("name", ["LSTM", "LSTMCell"])
def test_short_calls_of_wide_weights(name: str, write: Callable[[Any], None]) -> None:
    """They compare the weights as well, or leave the call to torch.nn."""
    for width in (WIDE, 4 * WIDE):
        module: Any = getattr(ft, name)(width, width)
        twin = getattr(torch.nn, name)(width, width)
        x = torch.randn(1, 1, width) if name == "LSTM" else torch.randn(1, width)
        for parameter in [*module.parameters()][:2]:
            with torch.no_grad():
                module(x)
            write(parameter)
            twin.load_state_dict(module.state_dict())
            with torch.no_grad():
                found, expected = module(x)[0], twin(x)[0]
            assert torch.allclose(found, expected, atol=1e-5)


def test_calls_that_end_before_their_weights_are_read_are_torchs() -> None:
    with torch.no_grad():
        for name, H, shape, path in (
            ("GRU", 512, (2, 1, 512), "torch.nn"),
            ("GRU", 512, (20, 1, 512), "kernels, called directly"),
            ("GRU", 64, (2, 1, 64), "kernels, called directly"),
            ("LSTM", 512, (2, 1, 512), "kernels, called directly"),
            ("LSTMCell", 512, (512,), "torch.nn"),
            ("LSTMCell", 512, (4, 512), "torch.nn"),
            ("LSTMCell", 512, (12, 512), "kernels, called directly"),
        ):
            module = getattr(ft, name)(H, H)
            twin = getattr(torch.nn, name)(H, H)
            twin.load_state_dict(module.state_dict())
            report = ft.explain(module, torch.zeros(shape))
            assert report["path"] == path, (name, H, shape)
            if path == "torch.nn":
                assert "whether the weights have changed" in report["why"]
            for _ in range(2):
                found, expected = (m(torch.ones(shape))[0] for m in (module, twin))
                assert torch.allclose(found, expected, atol=1e-5)


def test_swapping_weights_behind_torchs_back() -> None:
    """As averaged weights are swapped in and out: long calls in between keep nothing old."""
    lstm, twin = ft.LSTM(WIDE, WIDE), torch.nn.LSTM(WIDE, WIDE)
    first = {name: p.detach().clone() for name, p in lstm.named_parameters()}
    second = {name: torch.randn_like(p) / 10 for name, p in first.items()}
    short, long = torch.randn(1, 1, WIDE), torch.randn(20, 2, WIDE)
    with torch.no_grad():
        lstm(short)
        for weights, x in ((second, long), (first, short), (second, short), (first, long)):
            for name, p in lstm.named_parameters():
                p.data.copy_(weights[name])
            twin.load_state_dict(weights)
            assert torch.allclose(lstm(x)[0], twin(x)[0], atol=1e-5)
