"""convert(model): every recurrent layer of a model swapped in place, and back, training alike."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from proof_subject import CELLS, LAYERS, beyond_torch, cls, convert, subject, torch_cls
from tolerances import LOSS_CURVES

torch = pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


class Everything(torch.nn.Module):
    """Each class once, nested in containers, one layer twice, one with a projection."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        nn = torch.nn
        self.first = nn.Linear(4, 6)
        self.layers = nn.ModuleDict(
            {name: nn.ModuleList([getattr(nn, name)(6, 6)]) for name in LAYERS}
        )
        self.cells = nn.Sequential(*(getattr(nn, name)(6, 6) for name in CELLS))
        self.again = self.layers["GRU"][0]
        self.projected = nn.LSTM(6, 8, 2, bidirectional=True, proj_size=3, batch_first=False)

    def forward(self, x: Any) -> Any:
        y = torch.tanh(self.first(x))
        for layer in [*(parts[0] for parts in self.layers.values()), self.again, self.projected]:
            y, _ = layer(y)
        for cell in self.cells:
            out = cell(y[-1])
            y = y + (out[0] if isinstance(out, tuple) else out)
        return y


def curve(model: Any, steps: int = 20) -> Any:
    """Losses of Adam on a fixed task."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x = torch.randn(7, 5, 4, generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = (model(x) - x.mean(-1, keepdim=True)).square().mean()
        value.backward()
        optimizer.step()
        losses.append(value.detach())
    return torch.stack(losses)


def kinds(model: Any) -> list[Any]:
    names = LAYERS + CELLS
    return [type(m) for m in model.modules() if isinstance(m, tuple(map(torch_cls, names)))]


def test_a_converted_model_trains_to_the_same_losses() -> None:
    model = Everything()
    swapped = convert(copy.deepcopy(model))
    plain, ours = curve(model), curve(swapped)
    assert plain[-1] < plain[0]
    torch.testing.assert_close(ours, plain, rtol=LOSS_CURVES, atol=0)


@beyond_torch("convert")
def test_every_layer_is_swapped_in_place() -> None:
    model = Everything()
    parameters = dict(model.named_parameters())
    hooks: list[Any] = []
    model.projected.register_forward_hook(lambda *args: hooks.append(args))
    found = convert(model)
    assert found is model
    assert kinds(model) == [cls(kind.__name__) for kind in kinds(Everything())]
    assert model.again is model.layers["GRU"][0]
    after = dict(model.named_parameters())
    assert list(after) == list(parameters)
    assert all(after[name] is parameters[name] for name in parameters), "optimizers hold these"
    model(torch.randn(3, 2, 4))
    assert len(hooks) == 1


@beyond_torch("convert")
def test_a_single_layer_and_a_second_time() -> None:
    layer = torch.nn.LSTM(3, 4)
    swapped = convert(layer)
    assert type(swapped) is cls("LSTM")
    assert convert(swapped) is swapped
    assert all(a is b for a, b in zip(swapped.parameters(), layer.parameters(), strict=True))


@beyond_torch("convert")
def test_the_mode_and_the_frozen_stay() -> None:
    model = Everything().eval()
    next(model.projected.parameters()).requires_grad_(False)
    convert(model)
    assert not model.projected.training
    assert not next(model.projected.parameters()).requires_grad
    assert hasattr(subject(), "convert")


@beyond_torch("convert")
def test_subclasses_of_torchs_layers_are_left_alone() -> None:
    class Own(torch.nn.LSTM):
        """Somebody's own forward."""

    model = torch.nn.Sequential(Own(3, 4))
    with pytest.warns(UserWarning, match="Own"):
        convert(model)
    assert type(model[0]) is Own


@beyond_torch("convert")
def test_and_back() -> None:
    model = Everything()
    parameters = list(model.parameters())
    before = model(torch.ones(3, 2, 4))
    convert(model)
    model(torch.ones(3, 2, 4))
    assert subject().revert(model) is model
    assert kinds(model) == kinds(Everything())
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert torch.equal(model(torch.ones(3, 2, 4)), before)
