"""The operators, called as they are: torch's checker, and derivatives against numerical ones.

Cases in which every pair of options occurs; torch_proof has the whole product for the layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from covering import covering_rows
from tolerances import GRADCHECK
from torch.autograd import gradcheck, gradgradcheck
from torch_twins import leaves

T, B, I, H = 4, 3, 3, 4
CELLS = ["lstm", "gru", "rnn_tanh", "rnn_relu"]
LENGTHS = torch.tensor([2, 4, 0])
FACTORS: dict[str, list[Any]] = {
    "cell": CELLS,
    "layers": [1, 2, 3],
    "directions": [1, 2],
    "ragged": [False, True],
    "dropout": [0.0, 0.5],
    "batch_first": [False, True],
    "states": [False, True],
    "arriving": ["y", "h_n", "c_n", "all", "none"],
}
ROWS = [
    row | {"arriving": "all"} if row["cell"] != "lstm" and row["arriving"] == "c_n" else row
    for row in covering_rows(FACTORS, 2, seed=0)
]
every_pair = pytest.mark.parametrize("row", ROWS, ids=lambda r: "-".join(map(str, r.values())))


def arguments(
    cell: str,
    layers: int,
    directions: int,
    ragged: bool,
    dropout: float,
    batch_first: bool,
    states: bool,
) -> tuple[Any, ...]:
    """Of a call of fastrnn::scan that asks for gradients of everything."""
    gates = {"lstm": 4, "gru": 3}.get(cell, 1)
    params = []
    for layer in range(layers):
        inputs = I if layer == 0 else H * directions
        for _ in range(directions):
            shapes = [(gates * H, inputs), (gates * H, H), (gates * H,), (gates * H,)]
            params += leaves(*(torch.randn(s, dtype=torch.float64) / 2 for s in shapes))
    outer = (B, T) if batch_first else (T, B)
    (x,) = leaves(torch.randn(*outer, I, dtype=torch.float64))
    h_0, c_0 = leaves(*torch.randn(2, layers * directions, B, H, dtype=torch.float64))
    given = (h_0 if states else None, c_0 if states and cell == "lstm" else None)
    seed = torch.tensor(11) if dropout else None
    form = (cell, layers, directions, batch_first, dropout, True)
    return x, *given, params, LENGTHS if ragged else None, seed, *form


def function_of_leaves(row: dict[str, Any]) -> tuple[Callable[..., Any], list[Any]]:
    """The results that a loss depends on, as a function of inputs and parameters; and those."""
    arriving = row["arriving"]
    x, h_0, c_0, params, *rest = arguments(**{k: v for k, v in row.items() if k != "arriving"})
    inputs = [t for t in (x, h_0, c_0) if t is not None]
    names = ("y", "h_n", "c_n") if row["cell"] == "lstm" else ("y", "h_n")

    def function(*flat: Any) -> Any:
        states = (*flat[1 : len(inputs)], None, None)[:2]
        found = torch.ops.fastrnn.scan(flat[0], *states, [*flat[len(inputs) :]], *rest)
        results = dict(zip(names, found[: len(names)], strict=True))
        if arriving == "none":  # connected to all, but of no weight
            return sum((0.0 * part).sum() for part in results.values())
        return tuple(results.values()) if arriving == "all" else results[arriving]

    return function, [*inputs, *params]


def test_the_rows_have_every_option() -> None:
    for cell in CELLS:
        mine = [row for row in ROWS if row["cell"] == cell]
        for factor, levels in FACTORS.items():
            if factor not in ("cell", "arriving"):
                assert {row[factor] for row in mine} == set(levels)
        absent = set() if cell == "lstm" else {"c_n"}
        assert {row["arriving"] for row in mine} == set(FACTORS["arriving"]) - absent


@every_pair
def test_gradients(row: dict[str, Any]) -> None:
    assert gradcheck(*function_of_leaves(row), **GRADCHECK)


@every_pair
def test_second_gradients(row: dict[str, Any]) -> None:
    """Along random directions; element by element it is marked slow, below."""
    assert gradgradcheck(*function_of_leaves(row), fast_mode=True, **GRADCHECK)


@pytest.mark.slow
@every_pair
def test_second_gradients_in_full(row: dict[str, Any]) -> None:
    assert gradgradcheck(*function_of_leaves(row), **GRADCHECK)


@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_opcheck(cell: str, states: bool) -> None:
    for ragged, dropout, batch_first in (
        (False, 0.0, False),
        (True, 0.0, True),
        (False, 0.5, False),
    ):
        given = arguments(cell, 2, 2, ragged, dropout, batch_first, states)
        torch.library.opcheck(torch.ops.fastrnn.scan.default, given)
        plain = [t.detach() if isinstance(t, torch.Tensor) else t for t in given[:3]]
        params = [p.detach() for p in given[3]]
        y, h_n, c_n, reserve = torch.ops.fastrnn.scan(*plain, params, *given[4:])
        d_c = torch.randn_like(c_n) if cell == "lstm" else None
        d_outputs = (torch.randn_like(y), torch.randn_like(h_n), d_c)
        back = (*d_outputs, *plain, params, *given[4:6], reserve, *given[6:11])
        torch.library.opcheck(torch.ops.fastrnn.scan_backward.default, back)


def test_opcheck_of_masks() -> None:
    for dtype in (torch.float32, torch.float64):
        given = (torch.tensor(7), [T, B, H], 1, 0.5, dtype)
        torch.library.opcheck(torch.ops.fastrnn.dropout_mask.default, given)
