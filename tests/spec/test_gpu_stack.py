"""The stack around the GPU kernels: NumPy is the array library, the kernels are emulated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CELLS, SEED, Case, Result, named, solve
from covering import covering_rows
from emulated import TIERS
from tolerances import STORAGE_RELATIVE, relative_error

import fastrnn
from fastrnn import _device, _gpu, _scan, reference
from fastrnn._check.arrays import HOST
from fastrnn._problem import Problem

emulation = pytest.importorskip(
    "fastrnn._emulation", reason="built without FASTRNN_TESTING, so without the emulated GPU"
)
MACHINE = _gpu.Machine(np, emulation, lambda array: array.ctypes.data, lambda: 0, 0)

OPTIONS: dict[str, list[Any]] = {
    "T": [0, 1, 2, 9],
    "B": [0, 1, 3, 17],
    "I": [1, 5, 16],
    "H": [1, 7, 16, 33],
    "L": [1, 2, 3],
    "D": [1, 2],
    "dtype": ["float32", "float64"],
    "bias": [True, False],
    "ragged": [False, True],
    "states": [True, False],
    "arriving": [("y", "h_n", "c_n"), ("y",), ("h_n",), ("c_n",), ()],
    "dropout": [0.0, 0.3],
    "tier": ["", *TIERS],
}


def run_gpu(case: Case, problem: Any, plan: str) -> Result:
    sizes = (case.I, case.H, case.L, case.D == 2, case.bias, False, case.dropout)
    p = Problem(case.cell, *sizes, np.dtype(case.dtype))
    masks: list[Any] = [None] * case.L
    if case.dropout:
        count, shape = case.T * case.B * case.D * case.H, (case.T, case.B, case.D * case.H)
        for layer in range(1, case.L):
            mask = reference.dropout_mask(
                0, count, layer, case.dropout, case.dropout_seed, np.dtype(case.dtype)
            )
            masks[layer] = mask.reshape(shape)
    y, h_n, c_n, tape = _gpu.forward(
        MACHINE, p, problem.params, problem.x, problem.h_0, problem.c_0, problem.lengths, masks,
        True, plan,
    )  # fmt: skip
    assert tape is not None
    first = _gpu.backward(tape, problem.d_y, problem.d_h_n, problem.d_c_n)
    again = _gpu.backward(tape, problem.d_y, problem.d_h_n, problem.d_c_n)
    for one, two in zip(named(case, (y, h_n, c_n), first).values(),
                        named(case, (y, h_n, c_n), again).values(), strict=True):  # fmt: skip
        assert one.tobytes() == two.tobytes(), "backward changed its tape"
    return named(case, (y, h_n, c_n), first)


@pytest.mark.parametrize("cell", CELLS)
def test_stacks_agree_with_the_reference(cell: str):
    for row in covering_rows(OPTIONS, 2, SEED):
        tier = row.pop("tier")
        case = Case(cell, **row)
        problem, exact = solve(case)
        got = run_gpu(case, problem, tier)
        bound = STORAGE_RELATIVE[case.dtype]
        for name, truth in exact.items():
            assert got[name].dtype == case.dtype
            assert got[name].shape == truth.shape
            error = relative_error(got[name].astype(np.float64), truth)
            assert error <= bound, f"{name}: {error:.3g}, allowed {bound:.3g} in {case}, {tier}"


def test_a_plan_that_does_not_fit_says_so():
    case = Case("lstm", 1, 1, 2, 600)
    problem, _ = solve(case)
    with pytest.raises(ValueError, match=r"^fastrnn: plan has value 'resident', which does not"):
        run_gpu(case, problem, "resident")
    with pytest.raises(ValueError, match=r"expected resident, grid or streamed$"):
        run_gpu(case, problem, "fastest")


@pytest.fixture
def emulated_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy arrays are taken for GPU arrays."""
    monkeypatch.setattr(_scan, "place_of", lambda x: (MACHINE, HOST))
    monkeypatch.setattr(_device, "door_of", lambda machine: HOST)


@pytest.mark.usefixtures("emulated_gpu")
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_modules_run_the_same_call_on_a_gpu(
    name: str, batch_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forms, states, dropout and gradients by name are those of the CPU's call."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((6, 5, 4))
    lengths = rng.integers(0, (5 if batch_first else 6) + 1, 6 if batch_first else 5)
    options = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first, "dropout": 0.4}
    made = getattr(fastrnn, name)(4, 7, dtype=np.float64, rng=1, **options)
    start = made.rng_state()

    def run() -> list[np.ndarray]:
        made.set_rng_state(start)
        y, state, tape = made.forward(x, lengths=lengths)
        assert tape.nbytes > 0
        d_x, d_state, grads = made.backward(tape, np.ones_like(y), state)
        states = [*state, *d_state] if name == "LSTM" else [state, d_state]
        inference = made(x[0] if batch_first else x[:, 0])[0]  # one sequence without a batch axis
        return [y, d_x, *states, *grads.values(), inference]

    on_gpu = run()
    made.weight_hh_l1[...] *= 2  # the copy on the GPU must follow
    changed = run()
    made.weight_hh_l1[...] /= 2
    monkeypatch.undo()
    on_cpu = run()
    for one, other in zip(on_gpu, on_cpu, strict=True):
        assert one.shape == other.shape
        assert relative_error(one, other) <= STORAGE_RELATIVE["float64"]
    assert relative_error(changed[0], on_cpu[0]) > 1e-3


@pytest.mark.usefixtures("emulated_gpu")
def test_a_gpu_call_refuses_to_recompute() -> None:
    with pytest.raises(ValueError, match="expected False for arrays on a GPU"):
        fastrnn.GRU(2, 3).forward(np.ones((2, 1, 2), np.float32), recompute=True)
