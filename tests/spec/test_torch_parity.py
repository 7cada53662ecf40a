"""The oracle against torch.nn in float64: outputs, final states and every gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CELLS, Case, Problem, Result, draw, run_reference
from covering import covering_rows
from tolerances import TORCH_PARITY_FLOAT64

torch = pytest.importorskip(
    "torch", reason="the comparison with torch.nn needs torch", exc_type=ImportError
)

OPTIONS: dict[str, list[Any]] = {
    "T": [1, 2, 37],
    "B": [1, 3, 17],
    "I": [1, 5],
    "H": [1, 7, 16],
    "L": [1, 2, 3, 4],
    "D": [1, 2],
    "bias": [True, False],
    "batch_first": [True, False],
    "ragged": [True, False],
}


def run_torch(problem: Problem) -> Result:
    """The same problem through torch.nn; ragged rows as a PackedSequence (no length 0 there)."""
    case = problem.case
    options = {
        "num_layers": case.L,
        "bias": case.bias,
        "batch_first": case.batch_first,
        "bidirectional": case.D == 2,
        "dtype": torch.float64,
    }
    if case.cell.startswith("rnn"):
        options["nonlinearity"] = case.cell[4:]
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(case.cell, torch.nn.RNN)
    module = kind(case.I, case.H, **options)
    for name, value in zip(case.param_names, problem.params, strict=True):
        getattr(module, name).data = torch.from_numpy(value.copy())

    def leaf(array: np.ndarray) -> Any:
        return torch.from_numpy(array.copy()).requires_grad_()

    x, states = leaf(problem.x), [leaf(s) for s in (problem.h_0, problem.c_0) if s is not None]
    given = tuple(states) if case.has_c else states[0]
    if problem.lengths is None:
        y, final = module(x, given)
    else:
        rnn = torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(x, problem.lengths, case.batch_first, False)
        y, final = module(packed, given)
        y, _ = rnn.pad_packed_sequence(y, case.batch_first, total_length=case.T)
    finals = list(final) if case.has_c else [final]
    arriving = [problem.d_y, problem.d_h_n, problem.d_c_n][: 1 + len(finals)]
    torch.autograd.backward([y, *finals], [torch.from_numpy(d) for d in arriving])
    names = ["y", "h_n", "c_n"]
    result = dict(zip(names, [t.detach().numpy() for t in (y, *finals)], strict=False))
    result |= {"d_x": x.grad.numpy()}
    result |= {f"d_{n}": s.grad.numpy() for n, s in zip(("h_0", "c_0"), states, strict=False)}
    return result | {f"d_{n}": getattr(module, n).grad.numpy() for n in case.param_names}


@pytest.mark.parametrize("cell", [c for c in CELLS if c != "linear"])
def test_reference_agrees_with_torch(cell: str):
    rows = covering_rows(OPTIONS, 2, seed=1)
    assert len(rows) >= 16
    rtol, atol = TORCH_PARITY_FLOAT64
    for row in rows:
        problem = draw(Case(cell, **row))
        if problem.lengths is not None:
            problem.lengths = np.maximum(problem.lengths, 1)
        ours, theirs = run_reference(problem), run_torch(problem)
        assert ours.keys() == theirs.keys()
        for name in theirs:
            np.testing.assert_allclose(
                ours[name], theirs[name], rtol, atol, err_msg=f"{name} in {problem.case}"
            )
