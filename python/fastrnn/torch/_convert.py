"""Swapping the recurrent modules of a model in place, and back."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

import torch

from ._cells import GRUCell, LSTMCell, RNNCell
from ._modules import GRU, LSTM, RNN

_OURS: dict[type, type] = {
    torch.nn.LSTM: LSTM,
    torch.nn.GRU: GRU,
    torch.nn.RNN: RNN,
    torch.nn.LSTMCell: LSTMCell,
    torch.nn.GRUCell: GRUCell,
    torch.nn.RNNCell: RNNCell,
}
_THEIRS = {ours: theirs for theirs, ours in _OURS.items()}

Model = TypeVar("Model", bound=torch.nn.Module)


def convert(model: Model) -> Model:
    """Give every torch.nn recurrent module inside a model our kernels, in place.

    Parameters
    ----------
    model : torch.nn.Module
        Its LSTM, GRU, RNN and cell modules change their class and nothing else: they stay the same
        objects with the same Parameters, so that optimizers, tied weights, hooks, the training flag
        and the state dict are as they were. A module that is itself one of them changes too.
        Subclasses of torch.nn's modules have a forward of their own and stay as they are, with a
        warning.

    Returns
    -------
    model : torch.nn.Module
        The same object.

    Examples
    --------
    >>> import torch, fastrnn.torch
    >>> model = torch.nn.ModuleDict({"rnn": torch.nn.LSTM(3, 8), "out": torch.nn.Linear(8, 1)})
    >>> weight = model["rnn"].weight_hh_l0
    >>> type(fastrnn.torch.convert(model)["rnn"])
    <class 'fastrnn.torch._modules.LSTM'>
    >>> model["rnn"].weight_hh_l0 is weight
    True
    >>> type(fastrnn.torch.revert(model)["rnn"])
    <class 'torch.nn.modules.rnn.LSTM'>
    """
    return _swap("convert", model, _OURS)


def revert(model: Model) -> Model:
    """Undo `convert`: every module of this package becomes torch.nn's, in place.

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    model : torch.nn.Module
        The same object.
    """
    return _swap("revert", model, _THEIRS)


def _swap(call: str, model: Model, classes: dict[type, type]) -> Model:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"{call}: model is a {type(model).__name__}, expected a torch.nn.Module")
    for name, module in model.named_modules():
        own: Any = type(module)
        if own in classes:
            module.__dict__.pop("_held_weights", None)
            object.__setattr__(module, "__class__", classes[own])
        elif call == "convert" and own not in _THEIRS and issubclass(own, tuple(classes)):
            warnings.warn(
                f"convert: {name or 'model'} is a {own.__name__}, a subclass of torch.nn's module; "
                f"it stays as it is, derive it from fastrnn.torch instead",
                stacklevel=3,
            )
    return model
