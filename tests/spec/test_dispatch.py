"""FASTRNN_ISA forces a kernel table: the named one runs, and computes the same; others are refused.

The choice is made once, at import, so every test here runs an interpreter of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fastrnn import _core

# pack, forward and backward of every cell against the reference, in the chosen table
COMPUTE = """
import sys
sys.path[:0] = {path!r}
from cases import CELLS, DTYPES, Case
from cases import solve
from test_kernels import assert_agrees
from engine import pack
from fastrnn import _core
for cell in CELLS:
    for dtype in DTYPES:
        problem, exact = solve(Case(cell, 13, 5, 3, 33, L=2, D=2, dtype=dtype, ragged=True))
        assert_agrees(problem, exact)
        plan = _core.plan(pack(problem), 13, 5, True)
        assert {isa!r} in plan.values(), plan
print(_core.isa())
"""


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
    run = python(COMPUTE.format(path=sys.path, isa=isa), isa)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [isa]


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
