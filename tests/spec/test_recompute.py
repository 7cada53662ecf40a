"""`recompute=`: less memory, and not one bit of any result changes.

The engine cuts segments at the borders of the chunks that weight gradients are summed in, so the
problems here have more rows than one chunk: chunks of one step (more rows than a chunk holds), of a
few, and of many with tails.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CELLS, DTYPES, Case, Problem, draw, named, solve
from engine import assert_same_results, forward, pack, run_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import every_cell, every_dtype
from test_kernels import assert_agrees, assert_typical

from fastrnn import _core

BEST = -1  # the engine picks
# (B, T, I, H): chunks of one step; of a few; of many; hidden units worth splitting
SIZES = [(2100, 9, 3, 5), (300, 40, 70, 17), (3, 2500, 5, 7), (32, 40, 20, 260)]


def segments(problem: Problem, packed: Any, recompute: int) -> tuple[int, int]:
    """Their number, and the steps of the longest, by the engine's own words (without lengths)."""
    case = problem.case
    words = _core.plan(packed, case.T, case.B, True, recompute)["recompute"]
    found = re.match(r"(\d+) segments? of up to (\d+) steps?, ", str(words))
    assert found, words
    return int(found[1]), int(found[2])


def assert_recomputes(problem: Problem) -> None:
    """Every length of segments gives the bits of the plain call, at every number of threads."""
    packed, T = pack(problem), problem.case.T
    _core.set_num_threads(1)
    expected = run_engine(problem, packed)
    for count in (1, 2):
        _core.set_num_threads(count)
        for recompute in (1, 7, max(T, 1), BEST):
            got = run_engine(problem, packed, recompute)
            assert_same_results(got, expected, (recompute, count, problem.case))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("L", [1, 2, 3])
@every_dtype
@every_cell
def test_the_same_bits(cell: str, dtype: str, L: int, D: int, ragged: bool):
    for B, T, I, H in SIZES[: 4 if L == 1 else 2]:
        case = Case(cell, T, B, I, H, L, D, dtype, ragged=ragged, dropout=0.3 if L > 1 else 0.0)
        assert_recomputes(draw(case))


@pytest.mark.usefixtures("threads")
@every_dtype
@every_cell
def test_nothing_to_compute(cell: str, dtype: str):
    """No steps, no rows, all rows of length 0; no states, no gradients, no biases."""
    for T, B in ((0, 3), (5, 0), (0, 0), (6, 4)):
        problem = draw(Case(cell, T, B, 2, 5, 2, 2, dtype, ragged=True))
        if T == 6:
            problem = replace(problem, lengths=np.zeros(B, np.int64))
        assert_recomputes(problem)
    for arriving in ((), ("y",), ("h_n",), ("c_n",)):
        options: dict[str, Any] = {"states": False, "bias": False, "arriving": arriving}
        assert_recomputes(draw(Case(cell, 9, 2100, 2, 5, 1, 2, dtype, batch_first=True, **options)))


@settings(max_examples=100)
@given(
    cell=st.sampled_from(CELLS),
    dtype=st.sampled_from(DTYPES),
    T=st.integers(1, 24),
    B=st.integers(1, 1200),
    I=st.integers(1, 20),
    H=st.integers(1, 40),
    L=st.integers(1, 3),
    D=st.integers(1, 2),
    ragged=st.booleans(),
    recompute=st.integers(-1, 26).filter(bool),
)
def test_any_problem(
    cell: str,
    dtype: str,
    T: int,
    B: int,
    I: int,
    H: int,
    L: int,
    D: int,
    ragged: bool,
    recompute: int,
):
    problem = draw(Case(cell, T, B, I, H, L, D, dtype, ragged=ragged, dropout=0.4))
    packed = pack(problem)
    expected = run_engine(problem, packed)
    assert_same_results(run_engine(problem, packed, recompute), expected, (recompute, problem.case))


@every_dtype
@every_cell
def test_agrees_with_the_reference(cell: str, dtype: str):
    """Not only with the engine's other path."""
    ratios = []
    for L, D, ragged in ((1, 2, True), (2, 1, False)):
        case = Case(cell, 500, 9, 3, 7, L, D, dtype, ragged=ragged, dropout=0.2 if L > 1 else 0.0)
        problem, exact = solve(case)
        assert segments(problem, pack(problem), 1)[0] > 1, "else this tests nothing"
        ratios += assert_agrees(problem, exact, recompute=1)
    assert_typical(ratios, cell)


def test_segments_are_as_long_as_asked_for_rounded_up_to_chunks():
    problem = draw(Case("lstm", 40, 300, 4, 17, dtype="float32"))
    packed = pack(problem)
    count, chunk = segments(problem, packed, 1)
    assert count == -(-40 // chunk) > 3
    for steps in (chunk, chunk + 1, 3 * chunk, 39, 40, 10**6):
        longest = min(-(-steps // chunk) * chunk, 40)
        assert segments(problem, packed, steps) == (-(-40 // longest), longest)
    wide = draw(Case("lstm", 40, 2100, 4, 5, dtype="float32"))  # chunks of one step
    for steps in (1, 2, 7, 39, 40):
        assert segments(wide, pack(wide), steps) == (-(-40 // steps), steps)


@every_dtype
@every_cell
def test_what_the_tape_keeps(cell: str, dtype: str):
    """Borders, and the inputs of the layers above the first."""
    B, T, H = 2100, 20, 64  # chunks of one step; H fills whole panels of every kernel
    for L, D in ((1, 1), (1, 2), (3, 2)):
        problem = draw(Case(cell, T, B, 4, H, L, D, dtype, ragged=L == 3))
        packed, state = pack(problem), B * H * np.dtype(dtype).itemsize
        kept = {n: forward(problem, packed=packed, recompute=n)[-1].nbytes for n in (0, BEST, 1, T)}
        inputs = (L - 1) * T * D * state
        assert inputs < kept[T] < kept[BEST] < kept[1] < kept[0]
        assert kept[T] - inputs == L * D * state * (2 if problem.case.has_c else 1), (
            "initial states"
        )
        assert kept[BEST] - inputs < (kept[0] - inputs) / 4


def test_the_best_segments_take_the_least_memory():
    """Borders of all scans and the workspace of one segment, against every other length."""
    for L, D in ((1, 1), (2, 2)):
        problem = draw(Case("lstm", 100, 2100, 4, 16, L, D, dtype="float32"))
        packed = pack(problem)

        def total(steps: int, packed: Any = packed) -> float:
            words = str(_core.plan(packed, 100, 2100, True, steps)["recompute"])
            found = re.search(r"keeps (\S+) MB instead of \S+ MB; backward fills (\S+) MB", words)
            assert found, words
            return float(found[1]) + float(found[2])

        assert total(BEST) <= 1.05 * min(total(steps) for steps in range(1, 101))


@every_cell
def test_one_tape_serves_several_backward_calls_at_once(cell: str):
    """The tape stays as it is, whatever happens to y and to the weights."""
    problem = draw(Case(cell, 30, 300, 5, 33, 2, 2, "float32", ragged=True, dropout=0.25))
    expected = run_engine(problem)
    packed = pack(problem)
    y, h_n, c_n, tape = forward(problem, packed=packed, recompute=7)
    outputs = (y.copy(), h_n, c_n)
    y[:] = np.nan
    del packed
    for parameter in problem.params:
        parameter[:] = np.nan
    results: list[Any] = [None] * 3

    def work(i: int) -> None:
        results[i] = _core.backward(tape, problem.d_y, problem.d_h_n, problem.d_c_n)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(results))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for gradients in results:
        assert_same_results(named(problem.case, outputs, gradients), expected, problem.case)


def test_the_engine_checks_again():
    problem = draw(Case("lstm", 5, 2, 3, 8, dtype="float32"))
    with pytest.raises(ValueError, match=r"^forward: recompute has value -2, expected -1 "):
        forward(problem, recompute=-2)


PEAK = """
import sys
from pathlib import Path
import numpy as np
import fastrnn
def kib(field):
    return int(Path("/proc/self/status").read_text().split(field + ":")[1].split()[0])
lstm = fastrnn.LSTM(16, 128, rng=0)
x, d_y = (np.ones((400, 128, n), np.float32) for n in (16, 128))
before = kib("VmRSS")
for _ in range(3):
    tape = lstm.forward(x, recompute=sys.argv[1] == "True")[-1]
    lstm.backward(tape, d_y)
print(kib("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_peak_memory_falls():
    """Of the whole step, in a new process: y is the larger part of what remains."""

    def peak(recompute: bool) -> int:
        command = [sys.executable, "-c", PEAK, str(recompute)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    plain, less = peak(False), peak(True)
    assert less < plain / 3, (plain, less)
