"""The recurrent entries of torch's own module database, pointed at the classes under proof.

`torch/testing/_internal/common_modules.py` lists, for every class of torch.nn, how to construct it,
what to call it with, what to compare with, and what it must refuse. How many of each there are is
written down here, so that another torch with more or fewer is noticed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from proof_subject import CELLS, LAYERS, cls, torch_cls
from trees import fresh

torch = pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)
pytest.importorskip("expecttest", reason="torch's test utilities need expecttest")

INPUTS = {"RNN": 32, "GRU": 16, "LSTM": 32, "RNNCell": 3, "GRUCell": 2, "LSTMCell": 2}
PACKED_INPUTS = {"RNN": 32, "GRU": 16}  # beside those, when the database is asked for them
ERROR_INPUTS = {"RNN": 14, "GRU": 14, "LSTM": 14, "RNNCell": 6, "GRUCell": 6, "LSTMCell": 4}
DTYPES = ("float32", "float64")
MODES = ("train", "eval")


@cache
def module_info(name: str) -> Any:
    """The database's entry, a copy with our class in the place of torch's."""
    from torch.testing._internal import common_modules

    (found,) = [info for info in common_modules.module_db if info.module_cls is torch_cls(name)]
    ours = copy.copy(found)
    ours.module_cls = cls(name)
    return ours


def ask(function: Any, name: str, dtype: str, training: bool, **options: Any) -> list[Any]:
    """What a function of the database makes, always of the same random numbers."""
    torch.manual_seed(sum(map(ord, name + dtype)) + training)
    kind = getattr(torch, dtype)
    info = module_info(name)
    return list(
        function(info, device="cpu", dtype=kind, requires_grad=True, training=training, **options)
    )


@cache
def module_inputs(name: str, dtype: str, training: bool) -> list[Any]:
    return ask(module_info(name).module_inputs_func, name, dtype, training)


@cache
def packed_inputs(name: str, dtype: str, training: bool) -> list[Any]:
    """Those inputs alone that are PackedSequences."""
    function = module_info(name).module_inputs_func
    found = ask(function, name, dtype, training, with_packed_sequence=True)
    packed = torch.nn.utils.rnn.PackedSequence
    return [i for i in found if isinstance(i.forward_input.args[0], packed)]


@cache
def error_inputs(name: str, dtype: str, training: bool) -> list[Any]:
    return ask(module_info(name).module_error_inputs_func, name, dtype, training)


@dataclass(frozen=True)
class Case:
    """One module input with a dtype and a mode."""

    name: str
    index: int
    dtype: str
    mode: str
    packed: bool = False

    @property
    def training(self) -> bool:
        return self.mode == "train"

    @property
    def kind(self) -> Any:
        return getattr(torch, self.dtype)

    @property
    def given(self) -> Any:
        source = packed_inputs if self.packed else module_inputs
        return source(self.name, self.dtype, self.training)[self.index]

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What to call the module with: leaves of their own each time."""
        given = self.given.forward_input
        return fresh(given.args), fresh(given.kwargs)

    def construct(self, kind: Any, **options: Any) -> Any:
        """A module of that class, always of the same random numbers."""
        given = self.given.constructor_input
        torch.manual_seed(1000 + self.index)
        return kind(*given.args, **{**given.kwargs, **options})

    def module(self) -> Any:
        """The module under proof, in its dtype and mode."""
        return self.construct(cls(self.name)).to(self.kind).train(self.training)

    def torch_module(self) -> Any:
        """torch's own, made alike."""
        return self.construct(torch_cls(self.name)).to(self.kind).train(self.training)


def cases(packed: bool = False, dtypes: tuple[str, ...] = DTYPES) -> list[Case]:
    """Every module input x dtype x mode; torch is not asked, the counts above are."""
    counts = PACKED_INPUTS if packed else {name: INPUTS[name] for name in LAYERS + CELLS}
    return [
        Case(name, index, dtype, mode, packed)
        for name, count in counts.items()
        for index in range(count)
        for dtype in dtypes
        for mode in MODES
    ]


def label(case: Case) -> str:
    return f"{case.name}-{case.index}-{case.dtype}-{case.mode}"
