"""`convert` and `revert`: other kernels under the same objects."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastrnn.torch as ft


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Linear(3, 8)
        self.rnn = torch.nn.LSTM(8, 8, 2, batch_first=True, dropout=0.1)
        self.again = self.rnn
        self.cells = torch.nn.ModuleList([torch.nn.GRUCell(8, 8), torch.nn.RNNCell(8, 8)])
        self.gru = torch.nn.GRU(8, 5, bidirectional=True, batch_first=True)
        self.plain = torch.nn.RNN(10, 4, batch_first=True)

    def forward(self, x: Any) -> Any:
        y = self.rnn(self.embed(x))[0]
        h = self.cells[1](self.cells[0](y[:, -1]))
        return self.plain(self.gru(y + h[:, None])[0])[0]


def test_the_same_objects_with_the_same_results() -> None:
    model, x = Model().eval(), torch.randn(2, 6, 3)
    parameters, expected = dict(model.named_parameters()), model(x)
    modules, calls = dict(model.named_modules()), []
    model.gru.register_forward_hook(lambda *_: calls.append(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert ft.convert(model) is model
    assert [type(m) for m in (model.rnn, model.gru, model.plain)] == [ft.LSTM, ft.GRU, ft.RNN]
    assert [type(m) for m in model.cells] == [ft.GRUCell, ft.RNNCell]
    assert dict(model.named_modules()) == modules
    assert model.again is model.rnn
    assert not model.rnn.training
    for name, parameter in model.named_parameters():
        assert parameter is parameters[name]
    assert torch.allclose(model(x), expected, atol=1e-6)
    assert calls == [1]
    model(x).sum().backward()
    optimizer.step()
    trained = model(x)
    assert not torch.allclose(trained, expected, atol=1e-3)
    ft.revert(model)
    assert type(model.rnn) is torch.nn.LSTM
    assert type(model.cells[0]) is torch.nn.GRUCell
    assert not any("_held_weights" in m.__dict__ for m in model.modules())
    assert torch.allclose(model(x), trained, atol=1e-6)
    assert repr(model) == repr(ft.convert(model))


def test_training_runs_alike() -> None:
    torch.manual_seed(0)
    x, target = torch.randn(16, 6, 3), torch.randn(16, 6, 4)
    curves = []
    for converted in (False, True):
        torch.manual_seed(1)
        model = Model()
        model.rnn.dropout = 0.0
        if converted:
            ft.convert(model)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        losses = []
        for _ in range(15):
            optimizer.zero_grad()
            loss = (model(x) - target).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    assert curves[0][-1] < curves[0][0]


def test_a_module_that_is_one_itself() -> None:
    lstm = torch.nn.LSTM(3, 4)
    assert ft.convert(lstm) is lstm
    assert type(lstm) is ft.LSTM
    assert type(ft.convert(lstm)) is ft.LSTM


def test_subclasses_stay_with_a_warning() -> None:
    class Mine(torch.nn.GRU):
        pass

    model = torch.nn.ModuleDict({"mine": Mine(3, 4)})
    with pytest.warns(
        UserWarning, match="convert: mine is a Mine, a subclass of torch.nn's module"
    ):
        ft.convert(model)
    assert type(model["mine"]) is Mine
    with pytest.raises(TypeError, match=r"convert: model is a dict, expected a torch.nn.Module"):
        ft.convert({})
