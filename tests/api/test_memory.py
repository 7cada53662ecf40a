"""Calls that cannot fit are refused by arithmetic; the arithmetic is what the engine allocates."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modules import LAYERS, normal

import fastrnn
from fastrnn._check import memory

STACKS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "three layers, two directions": {"num_layers": 3, "bidirectional": True},
    "float64": {"dtype": "f8", "num_layers": 2},
}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("lengths", [None, [7, 0, 3]], ids=["full", "ragged"])
def test_a_tapes_bytes_are_what_was_counted(
    name: str, stack: str, lengths: list[int] | None
) -> None:
    layer = LAYERS[name](5, 19, rng=0, **STACKS[stack])
    x = normal((7, 3, 5)).astype(layer.dtype)
    tape = layer.forward(x, lengths=lengths)[2]
    problem = layer._problem
    alive = 21 if lengths is None else sum(lengths)
    counted = problem.forward_bytes(7, 3, alive, True)
    results = 7 * 3 * problem.output_size + problem.num_scans * 3 * problem.states * 19
    tables = 2 * 8 * (-(-alive // 3) + 3)
    assert counted - results * problem.dtype.itemsize - tables == tape.nbytes


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lstm = fastrnn.LSTM(1, 1, rng=0)
    x = np.zeros((1000, 1, 1), np.float32)
    y, _, tape = lstm.forward(x)
    needed = lstm._problem.forward_bytes(1000, 1, 1000, True)
    for machine, refused in ((needed, False), (needed - 1, True)):
        monkeypatch.setattr(memory, "_machine_bytes", lambda machine=machine: machine)
        if refused:
            sentence = r"^LSTM\.forward: x has T = 1000 and B = 1, so y, the states and the tape wo"
            with pytest.raises(ValueError, match=sentence):
                lstm.forward(x)
        else:
            lstm.forward(x)
        lstm(x)  # takes less
    monkeypatch.setattr(memory, "_machine_bytes", lambda: 1000)
    with pytest.raises(ValueError, match=r"^LSTM\.backward: tape has T = 1000, B = 1 and I = 1,"):
        lstm.backward(tape, y)


def test_what_was_counted_for_this_machine_is_not_pickled() -> None:
    lstm = fastrnn.LSTM(3, 4, rng=0)
    lstm(np.zeros((2, 1, 3), np.float32))
    assert "_forward_costs" in vars(lstm._problem)
    again = pickle.loads(pickle.dumps(lstm))
    assert "_forward_costs" not in vars(again._problem)
    assert again._problem == lstm._problem


def test_short_rows_of_a_long_input_count_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    gru = fastrnn.GRU(1, 1, rng=0)
    x = np.zeros((1000, 2, 1), np.float32)
    needed = gru._problem.forward_bytes(1000, 2, 11, True)
    monkeypatch.setattr(memory, "_machine_bytes", lambda: needed)
    gru.forward(x, lengths=[10, 1])
    with pytest.raises(ValueError, match="x has T = 1000 and B = 2"):
        gru.forward(x)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="the machine cannot be asked")
def test_the_sizes_of_the_review_are_refused() -> None:
    for x in ((0, 2**40, 3), (2**40, 0, 3)):
        huge = np.broadcast_to(np.float32(0), x)
        if x[1]:
            with pytest.raises(ValueError, match=r"^LSTM: x has T = 0 and B = 1099511627776, so"):
                fastrnn.LSTM(3, 4, rng=0)(huge)
        else:  # no row: nothing is computed and nothing is kept
            assert fastrnn.LSTM(3, 4, rng=0)(huge)[0].shape == (2**40, 0, 4)
    steps = memory._machine_bytes() // 384  # of an LSTM with one unit: 6 vectors a step
    x = np.broadcast_to(np.float32(0), (steps, 1, 1))
    if fastrnn.info()["isa"] == "avx512":
        with pytest.raises(ValueError, match="so y, the states and the tape would take"):
            fastrnn.LSTM(1, 1, rng=0).forward(x)


def test_parameters_without_memory_of_their_own_are_refused() -> None:
    def zeros(*shape: int) -> np.ndarray:
        return np.broadcast_to(np.float32(0), shape)

    huge = 2**29
    params = [zeros(4 * huge, 3), zeros(4 * huge, huge), zeros(4 * huge), zeros(4 * huge)]
    with pytest.raises(ValueError, match=r"^lstm: params has hidden_size 536870912 with input"):
        fastrnn.functional.lstm(np.zeros((1, 1, 3), np.float32), params)
