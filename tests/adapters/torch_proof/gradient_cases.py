"""Layers whose derivatives are checked numerically: every option, and which gradients arrive.

`lengths` is the subject's own argument where it has one; the control packs and pads instead.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from covering import covering_rows
from proof_subject import cls
from trees import arriving

torch = pytest.importorskip("torch", reason="the proof needs torch", exc_type=ImportError)

T, B, I, H, PROJECTION = 3, 2, 2, 3, 2
SEED_OF_MASKS = 11

# kind -> class, options
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "LSTM": ("LSTM", {}),
    "LSTM proj": ("LSTM", {"proj_size": PROJECTION}),
    "GRU": ("GRU", {}),
    "RNN tanh": ("RNN", {"nonlinearity": "tanh"}),
    "RNN relu": ("RNN", {"nonlinearity": "relu"}),
}
FACTORS: dict[str, list[Any]] = {
    "num_layers": [1, 2, 3],
    "bidirectional": [False, True],
    "ragged": [False, True],
    "dropout": [0.0, 0.5],
    "arriving": ["y", "h_n", "c_n", "all", "none"],
}


@dataclass(frozen=True)
class GradientCase:
    """A layer, its options, and the outputs that a loss depends on."""

    kind: str
    num_layers: int
    bidirectional: bool
    ragged: bool
    dropout: float
    arriving: str

    @property
    def has_c(self) -> bool:
        return self.kind.startswith("LSTM")

    def __str__(self) -> str:
        sides = "bi" if self.bidirectional else "uni"
        rows = "ragged" if self.ragged else "dense"
        return (
            f"{self.kind}-L{self.num_layers}-{sides}-{rows}-p{self.dropout}-{self.arriving}"
        ).replace(" ", "_")

    def layer(self) -> Any:
        name, options = KINDS[self.kind]
        torch.manual_seed(3)
        return cls(name)(
            I,
            H,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            dtype=torch.float64,
            **options,
        )

    def lengths(self) -> list[int] | None:
        return [T - 1, T] if self.ragged else None  # in no order

    def leaves(self) -> list[Any]:
        """x, h_0 and c_0, nonzero; no pre-activation of a relu lies within a step of its kink."""
        generator = torch.Generator().manual_seed(5)
        rows = self.num_layers * (1 + self.bidirectional)
        h = PROJECTION if "proj" in self.kind else H
        shapes = [(T, B, I), (rows, B, h)] + [(rows, B, H)] * self.has_c
        return [
            torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
            for shape in shapes
        ]

    def chosen(self, y: Any, h_n: Any, c_n: Any) -> tuple[Any, ...]:
        """The outputs that count."""
        outputs = {"y": y, "h_n": h_n} | ({"c_n": c_n} if self.has_c else {})
        if self.arriving == "none":  # connected to all, but of no weight
            return (
                sum(((0.0 * o * arriving(o)).sum() for o in outputs.values()), y.new_zeros(())),
            )
        return tuple(outputs.values()) if self.arriving == "all" else (outputs[self.arriving],)


def call(layer: Any, x: Any, state: Any, lengths: list[int] | None) -> tuple[Any, Any, Any]:
    """(y, h_n, c_n or None); y is 0 past each row's length."""
    if lengths is None:
        y, last = layer(x, state)
    elif "lengths" in inspect.signature(layer.forward).parameters:
        y, last = layer(x, state, lengths=torch.tensor(lengths))
    else:
        rnn = torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, last = layer(packed, state)
        y, _ = rnn.pad_packed_sequence(y, total_length=x.shape[0])
    h_n, c_n = last if isinstance(last, tuple) else (last, None)
    return y, h_n, c_n


def function_of_leaves(case: GradientCase) -> tuple[Callable[..., Any], list[Any]]:
    """The chosen outputs as a function of inputs and parameters, masks replayed; and those."""
    layer = case.layer()
    names = [name for name, _ in layer.named_parameters()]
    parameters = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    inputs = case.leaves()

    def function(*values: Any) -> tuple[Any, ...]:
        torch.manual_seed(SEED_OF_MASKS)
        x, *state = values[: len(inputs)]
        weights = dict(zip(names, values[len(inputs) :], strict=True))
        hx = tuple(state) if case.has_c else state[0]
        caller = _Caller(layer, x, hx, case.lengths())
        return case.chosen(*torch.func.functional_call(caller, caller.named(weights), ()))

    return function, inputs + parameters


class _Caller(torch.nn.Module):
    """`call` as a module, so that functional_call puts the weights in while it runs."""

    def __init__(self, layer: Any, *arguments: Any) -> None:
        super().__init__()
        self.layer = layer
        self.arguments = arguments

    @staticmethod
    def named(weights: dict[str, Any]) -> dict[str, Any]:
        return {f"layer.{name}": value for name, value in weights.items()}

    def forward(self) -> tuple[Any, Any, Any]:
        return call(self.layer, *self.arguments)


def is_sensible(case: GradientCase) -> bool:
    """c_n is the LSTM's; one layer has nothing between layers to drop."""
    return (case.has_c or case.arriving != "c_n") and not (case.num_layers == 1 and case.dropout)


def every_case() -> list[GradientCase]:
    """The whole product."""
    product = itertools.product(KINDS, *FACTORS.values())
    return [case for case in (GradientCase(*row) for row in product) if is_sensible(case)]


def covering_cases(strength: int) -> list[GradientCase]:
    """Of every kind, cases in which any `strength` options occur in every combination that is."""
    found = set()
    for number, kind in enumerate(KINDS):
        for row in covering_rows(FACTORS, strength, seed=number):
            case = GradientCase(kind, **row)
            if not case.has_c and case.arriving == "c_n":
                case = replace(case, arriving="all")
            if case.num_layers == 1 and case.dropout:
                case = replace(case, dropout=0.0)
            found.add(case)
    return sorted(found, key=str)
