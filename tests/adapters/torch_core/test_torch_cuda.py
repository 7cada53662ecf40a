"""Layers on a GPU against torch.nn in float64: every form of call, results and every gradient.

'emulated' runs everywhere (`gpu_torch`), 'real' where torch finds a GPU and the build has kernels.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import SEED
from covering import covering_rows
from gpu_torch import Place, emulated, forced, real
from tolerances import (
    GRADCHECK,
    KEEP_RATE_SIGMAS,
    KINKED_RELATIVE,
    STACK_RNN,
    STACK_SIZE,
    STORAGE_RELATIVE,
)
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence
from torch_twins import LAYERS, hx, tensors

import fastrnn.torch as ft
from fastrnn.torch import _cuda, _lengths

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
OPTIONS: dict[str, list[Any]] = {
    "T": [1, 2, 9],
    "B": [1, 3, 17],
    "I": [1, 5, 16],
    "H": [1, 7, 33],
    "num_layers": [1, 2, 3],
    "bidirectional": [False, True],
    "bias": [True, False],
    "batch_first": [False, True],
    "rows": ["even", "ragged", "packed"],
    "states": [True, False],
    "arriving": ["all", "y", "states"],
}


@pytest.fixture(params=["emulated", "real"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    forced(monkeypatch)
    return emulated(monkeypatch) if request.param == "emulated" else real()


def gradients(out: list[Tensor], weights: list[Any], leaves: list[Tensor]) -> list[Tensor]:
    pairs = [(o, w.to(o)) for o, w in zip(out, weights, strict=True) if w is not None]
    found = torch.autograd.grad([o for o, _ in pairs], leaves, [w for _, w in pairs])
    return [f.detach().double().cpu() for f in found]


def miss(got: Tensor, exact: Tensor, dtype: str, cell: str = "") -> str | None:
    """What is wrong with a result, if anything."""
    if got.shape != exact.shape:
        return f"shape {tuple(got.shape)}, expected {tuple(exact.shape)}"
    if not exact.numel():
        return None
    if cell == "relu" and dtype in KINKED_RELATIVE:
        size = max(float(exact.norm()), 1.0)
        error, bound = float((got - exact).norm()) / size, KINKED_RELATIVE[dtype]
    else:
        scale = max(float(exact.abs().max()), STACK_SIZE)
        error, bound = float((got - exact).abs().max()) / scale, STORAGE_RELATIVE[dtype]
        bound *= STACK_RNN if cell == "RNN" else 1.0
    return None if error <= bound else f"error {error:.3g}, allowed {bound:.3g}"


def one_case(place: Place, name: str, options: Any, dtype: str, case: dict[str, Any]) -> None:
    """A call and its backward, with the numbers of one draw in `dtype` and in float64."""
    case = dict(case)
    T, B, I, H, rows, states, arriving = (
        case.pop(key) for key in ("T", "B", "I", "H", "rows", "states", "arriving")
    )
    ours = getattr(ft, name)(I, H, **options, **case, dtype=DTYPES[dtype], device=place.device)
    exact = getattr(ft, name)(I, H, **options, **case, dtype=torch.float64)
    exact.load_state_dict(ours.state_dict())
    first, second = (B, T) if case["batch_first"] else (T, B)
    D = 1 + case["bidirectional"]
    x = torch.randn(first, second, I).to(DTYPES[dtype])
    begin = [torch.randn(case["num_layers"] * D, B, H).to(DTYPES[dtype]) for _ in range(2)]
    begin = begin[: 1 + (name == "LSTM")] if states else []
    lengths = None
    if rows != "even":
        lengths = torch.randint(0 if rows == "ragged" else 1, T + 1, (B,))
        lengths[0] = T

    def run(module: Any, torchs: bool) -> tuple[list[Tensor], list[Tensor]]:
        weight = module.weight_hh_l0
        given, *h = (t.detach().to(weight, copy=True).requires_grad_() for t in (x, *begin))
        state = hx(name, h)
        if rows == "packed":
            batch_first = case["batch_first"]
            sequence = pack_padded_sequence(given, lengths, batch_first, enforce_sorted=False)
            y, after = (
                module._torch_class.forward(module, sequence, state)
                if torchs
                else module(sequence, state)
            )
            out = [y.data, *tensors(after)]
        elif torchs:
            out = tensors(_lengths.run_torch(module, given, state, lengths))
        else:
            out = tensors(module(given, state, lengths=lengths))
        weights = [d.to(weight.device) for d in arriving_at(out)]
        found = gradients(out, weights_used(weights), [given, *h, *module.parameters()])
        return [o.detach().double().cpu() for o in out], found

    def arriving_at(out: list[Tensor]) -> list[Tensor]:
        torch.manual_seed(3)
        return [torch.randn(o.shape).to(DTYPES[dtype]) for o in out]

    def weights_used(weights: list[Tensor]) -> list[Any]:
        return [
            w if arriving in ("all", "y" if number == 0 else "states") else None
            for number, w in enumerate(weights)
        ]

    found, expected = run(ours, False), run(exact, True)
    cell = options.get("nonlinearity", name)
    for kind, got, true in zip(("result", "gradient"), found, expected, strict=True):
        for number, (one, other) in enumerate(zip(got, true, strict=True)):
            wrong = miss(one, other, dtype, cell)
            assert wrong is None, f"{kind} {number}: {wrong} in {name} {dtype} {case}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), LAYERS)
def test_every_form_of_call(place: Place, name: str, options: Any, dtype: str) -> None:
    for case in covering_rows(OPTIONS, 2, SEED):
        one_case(place, name, options, dtype, case)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_one_sequence_and_no_gradients(place: Place, name: str) -> None:
    layer = getattr(ft, name)(5, 7, 2, device=place.device)
    x = torch.randn(6, 5, device=place.device)
    with torch.no_grad():
        y, after = layer(x)
        expected, states = layer._torch_class.forward(layer, x)
    for one, other in zip([y, *tensors(after)], [expected, *tensors(states)], strict=True):
        assert not one.requires_grad
        assert miss(one.double().cpu(), other.double().cpu(), "float32") is None


def draws(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The masks of the calls that follow."""
    drawn, draw = [], _cuda.draw_masks

    def watched(*arguments: Any) -> Tensor | None:
        masks = draw(*arguments)
        drawn.append(masks)
        return masks

    monkeypatch.setattr(_cuda, "draw_masks", watched)
    return drawn


def test_dropout_is_between_layers(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The masks that torch drew, multiplied in where torch.nn does."""
    drawn = draws(monkeypatch)
    for batch_first, p in ((False, 0.4), (True, 0.4), (False, 1.0)):
        options: Any = {"dtype": torch.float64, "batch_first": batch_first, "device": place.device}
        gru = ft.GRU(5, 7, 3, dropout=p, bidirectional=True, **options)
        x = torch.randn(6, 4, 5, dtype=torch.float64, device=place.device, requires_grad=True)
        y, h_n = gru(x)
        found = torch.autograd.grad(y.sin().sum() + h_n.sum(), [x, *gru.parameters()])
        inputs, states = x.transpose(0, 1) if batch_first else x, []
        for layer in range(3):
            if layer:
                inputs = inputs * drawn[-1][layer - 1] * (1 / (1 - p) if p < 1 else 0.0)
            one = torch.nn.GRU(inputs.shape[2], 7, bidirectional=True, dtype=torch.float64)
            names = [n for n, _ in one.named_parameters()]
            weights = {n: getattr(gru, n.replace("l0", f"l{layer}")) for n in names}
            inputs, state = torch.func.functional_call(one, weights, (inputs,))
            states.append(state)
        if batch_first:
            inputs = inputs.transpose(0, 1)
        loss = inputs.sin().sum() + torch.cat(states).sum()
        expected = torch.autograd.grad(loss, [x, *gru.parameters()])
        for one, other in zip(
            (y, h_n, *found), (inputs, torch.cat(states), *expected), strict=True
        ):
            assert miss(one.detach().cpu(), other.detach().cpu(), "float64") is None
        kept = float(drawn[-1].double().mean())
        spread = (p * (1 - p) / drawn[-1].numel()) ** 0.5
        assert abs(kept - (1 - p)) <= KEEP_RATE_SIGMAS * spread


def test_torchs_generator_governs_masks(place: Place) -> None:
    lstm = ft.LSTM(5, 7, 2, dropout=0.5, device=place.device)
    x = torch.randn(6, 4, 5, device=place.device)
    torch.manual_seed(5)
    first, second = lstm(x)[0], lstm(x)[0]
    torch.manual_seed(5)
    assert torch.equal(lstm(x)[0], first)
    assert not torch.equal(first, second)
    with torch.no_grad():
        torch.manual_seed(5)
        assert torch.equal(lstm(x)[0], first)
    lstm.eval()
    assert torch.equal(lstm(x)[0], lstm(x)[0])


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_second_derivatives(place: Place, name: str) -> None:
    options: Any = {"dtype": torch.float64, "device": place.device}
    layer = getattr(ft, name)(2, 3, 2, dropout=0.5, batch_first=True, **options)
    x = torch.randn(2, 3, 2, **options, requires_grad=True)
    lengths = torch.tensor([2, 3], device=place.device)

    def call(x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(1)
        return tuple(tensors(layer(x, lengths=lengths)))

    leaves = (x, layer.weight_hh_l0, layer.bias_hh_l1)
    assert torch.autograd.gradcheck(call, leaves, **GRADCHECK)
    assert torch.autograd.gradgradcheck(call, leaves, **GRADCHECK)


def test_many_gradients_at_once(place: Place) -> None:
    lstm = ft.LSTM(2, 3, dtype=torch.float64, device=place.device)
    x = torch.randn(3, 2, 2, dtype=torch.float64, device=place.device, requires_grad=True)
    h_n = lstm(x)[1][0]
    wanted = torch.randn(4, *h_n.shape, dtype=torch.float64, device=place.device)
    together = torch.autograd.grad(h_n, x, wanted, is_grads_batched=True, retain_graph=True)[0]
    for one, d in zip(together, wanted, strict=True):
        alone = torch.autograd.grad(h_n, x, d, retain_graph=True)[0]
        assert miss(one.cpu(), alone.cpu(), "float64") is None


def test_the_reserve_may_travel_and_is_never_written(place: Place) -> None:
    """Hooks give backward a copy at another place; a second backward finds everything."""
    options: Any = {"dropout": 0.3, "bidirectional": True, "device": place.device}
    layer = ft.LSTM(5, 7, 2, **options, dtype=torch.bfloat16)
    x = torch.randn(6, 3, 5, device=place.device).bfloat16().requires_grad_()
    sizes = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.dtype is not torch.uint8:
            return tensor
        sizes.append(tensor.numel())
        return torch.cat([tensor.new_zeros(3), tensor])  # the next address that fits nothing

    def unpack(tensor: Tensor) -> Tensor:
        return tensor if tensor.dtype is not torch.uint8 else tensor[3:]

    def run() -> list[Tensor]:
        torch.manual_seed(2)
        loss = layer(x)[0].float().square().sum()
        first = torch.autograd.grad(loss, [x, *layer.parameters()], retain_graph=True)
        second = torch.autograd.grad(loss, [x, *layer.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        return list(first)

    plain = run()
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        moved = run()
    assert all(torch.equal(a, b) for a, b in zip(plain, moved, strict=True))
    assert sizes == [_cuda.reserve_bytes(layer.stack(torch.bfloat16), 6, 3)]


def test_lengths_from_the_host_are_looked_at(place: Place) -> None:
    gru, x = ft.GRU(5, 7, device=place.device), torch.randn(6, 2, 5, device=place.device)
    with pytest.raises(
        ValueError, match=r"^forward: lengths\[1\] has value 7, expected 0 to T = 6$"
    ):
        gru(x, lengths=[6, 7])
    with pytest.raises(ValueError, match=r"lengths\[0\] has value -1"):
        gru(x, lengths=torch.tensor([-1, 2]))
