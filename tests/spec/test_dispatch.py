"""FASTRNN_ISA forces a kernel table: the named one runs, and computes the same; others are refused.

That choice is made once, at import, so its tests run interpreters of their own. `_core._use_isa`
changes it in a running one, for tests and benchmarks: for later packs, not for what is packed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from itertools import permutations, product
from typing import Any

import pytest
from cases import CELLS, DTYPES, Case, Problem, draw, named, solve
from engine import assert_same_bits, assert_same_results, forward, pack, run_engine, running
from modules import normal
from test_kernels import assert_agrees

import fastrnn
from fastrnn import _core

CASES = [
    Case(cell, 13, 5, 3, 33, L=2, D=2, dtype=dtype, ragged=True)
    for cell, dtype in product(CELLS, DTYPES)
]

# pack, forward and backward of every cell against the reference, in the chosen table
COMPUTE = """
import sys
sys.path[:0] = {path!r}
import test_dispatch
test_dispatch.compare()
print(test_dispatch._core.isa(), test_dispatch.digest())
"""

every_change = pytest.mark.parametrize(("before", "after"), [*permutations(_core.isas(), 2)])


def compare() -> None:
    for case in CASES:
        assert_agrees(*solve(case))
        assert planned(pack(draw(case))) == _core.isa()


def digest() -> int:
    """Of every bit of every result; no two tables round alike."""
    value = 0
    for case in CASES:
        for array in run_engine(draw(case)).values():
            value = zlib.crc32(array.tobytes(), value)
    return value


def planned(packed: Any) -> object:
    return _core.plan(packed, 13, 5, True)["isa"]


def python(code: str, isa: str | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "FASTRNN_ISA"}
    if isa is not None:
        environment["FASTRNN_ISA"] = isa
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )


def test_tables_are_listed_from_best_to_baseline():
    isas = _core.isas()
    assert isas[-1] == "baseline"
    assert len(set(isas)) == len(isas)
    assert set(isas) <= {"avx512", "avx2", "baseline"}
    assert _core.isa() == os.environ.get("FASTRNN_ISA", isas[0])


@pytest.mark.parametrize("isa", _core.isas())
def test_a_forced_table_runs_and_agrees_with_the_reference(isa: str):
    run = python(COMPUTE.format(path=sys.path), isa)
    assert run.returncode == 0, run.stderr
    with running(isa):
        assert run.stdout.split() == [isa, str(digest())], "not what the same table computes here"


def test_without_force_the_first_table_is_taken():
    run = python("import fastrnn._core as c; print(c.isa())", None)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == _core.isas()[:1]


@pytest.mark.parametrize("name", ["avx1024", "AVX2 ", "scalar", "0"])
def test_an_unknown_table_is_refused_by_name(name: str):
    run = python("import fastrnn._core", name)
    assert run.returncode != 0, f"FASTRNN_ISA={name!r} was accepted"
    message = run.stderr.strip().splitlines()[-1]
    assert message.startswith(("ImportError: ", "ValueError: ")), run.stderr
    for word in ("FASTRNN_ISA", name, *_core.isas()):
        assert word in message, f"{word!r} is not in: {message}"


@every_change
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_packed_keeps_its_kernels(dtype: str, before: str, after: str):
    problem: Problem = draw(Case("lstm", 13, 5, 3, 33, L=2, dtype=dtype))
    with running(before):
        packed = pack(problem)
        expected = run_engine(problem, packed)
        *outputs, tape = forward(problem, packed=packed)
    with running(after):
        assert planned(packed) == before
        assert_same_results(run_engine(problem, packed), expected, (before, after))
        gradients = _core.backward(tape, problem.d_y, problem.d_h_n, problem.d_c_n)
        result = named(problem.case, tuple(outputs), gradients)
        assert_same_results(result, expected, (before, after))


@every_change
def test_a_layer_is_packed_again_for_another_table(before: str, after: str):
    layer, x = fastrnn.GRU(5, 33, rng=0), normal((13, 4, 5))
    with running(before):
        expected = layer(x)[0]
        assert fastrnn.explain(layer, x)["isa"] == fastrnn.info()["isa"] == before
    with running(after):
        assert fastrnn.explain(layer, x)["isa"] == fastrnn.info()["isa"] == after
        assert_same_bits("y", layer(x)[0], fastrnn.GRU(5, 33, rng=0)(x)[0], after)
    with running(before):
        assert_same_bits("y", layer(x)[0], expected, before)
        problem = draw(CASES[0])
        packed = pack(problem)
        assert pack(problem, packed) is packed
        with running(after):
            assert planned(pack(problem, packed)) == after


@every_change
def test_a_stepper_keeps_its_kernels(before: str, after: str):
    layer, x = fastrnn.LSTM(5, 33, 2, rng=0), normal((13, 4, 5))
    with running(before):
        expected = layer(x)[0]
        stepper = fastrnn.Stepper(layer, streams=4)
    with running(after):
        assert_same_bits("y", stepper.process(x[:7]), expected[:7], before)
        with pytest.raises(ValueError, match=rf" kernels of {after}, expected those of {before}, "):
            stepper.refresh()
    with running(before):
        stepper.refresh()
        assert_same_bits("y", stepper.process(x[7:]), expected[7:], before)


def test_info_says_who_changed_the_table():
    chosen = fastrnn.info()
    for isa in _core.isas():
        with running(isa):
            found = fastrnn.info()
            source = chosen["isa_from"] if isa == chosen["isa"] else "_core._use_isa"
            assert (found["isa"], found["isa_from"]) == (isa, source)
    assert dict(fastrnn.info()) == dict(chosen)


@pytest.mark.parametrize("name", ["", "avx1024", "AVX2 ", "scalar"])
def test_an_unknown_table_is_refused_while_running_too(name: str):
    before = _core.isa()
    with pytest.raises(ValueError, match="expected one of") as refused:
        _core._use_isa(name)
    names = ", ".join(_core.isas())
    sentence = f"_use_isa: name is '{name}', expected one of {names} on this machine"
    assert str(refused.value) == sentence
    assert _core.isa() == before
