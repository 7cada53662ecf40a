"""info, explain and the number of threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from modules import CELLS, LAYERS, normal

import fastrnn
from fastrnn import _core


def test_info_says_what_runs() -> None:
    info = fastrnn.info()
    assert isinstance(info, Mapping)
    assert info["isa"] == _core.isa()
    assert info["isas"] == _core.isas()
    assert info["isa"] in info["isas"]
    assert info["threads"] == _core.get_num_threads() >= 1
    assert info["numpy"] == np.__version__
    assert info["python"] == platform.python_version()
    assert info["backends"][0] == "cpu"
    absent = "cuda: this build has no CUDA kernels; pass NumPy arrays"
    assert info["backends"][1] == ("cuda" if _core.build_info()["cuda"] else absent)
    assert info["compiler"]
    assert list(info) == [
        "version",
        "isa",
        "isa_from",
        "isas",
        "threads",
        "threads_from",
        "cpus",
        "backends",
        "compiler",
        "numpy",
        "python",
        "machine",
    ]


def test_info_prints_as_a_table() -> None:
    info = fastrnn.info()
    lines = str(info).splitlines()
    assert lines[0] == "fastrnn"
    facts = len(info) + len(info["isas"]) - 1 + len(info["backends"]) - 1
    assert len(lines) == 1 + facts
    assert f"  isa           {info['isa']}" in lines
    with pytest.raises(TypeError, match="does not support item assignment"):
        info["isa"] = "other"  # type: ignore[index]


@pytest.mark.usefixtures("threads")
def test_threads_are_set_and_their_source_is_named() -> None:
    for count in (1, 2, 3):
        fastrnn.set_num_threads(count)
        assert fastrnn.get_num_threads() == fastrnn.info()["threads"] == count
    assert fastrnn.info()["threads_from"] == "set_num_threads"


def in_new_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("count", ["1", "3"])
def test_omp_num_threads_is_obeyed_and_named(count: str) -> None:
    code = "import fastrnn; i = fastrnn.info(); print(i['threads'], i['threads_from'])"
    assert in_new_process(code, OMP_NUM_THREADS=count) == f"{count} OMP_NUM_THREADS"


@pytest.mark.parametrize("count", ["1025", "99999", "1025,2"])
def test_a_huge_omp_num_threads_is_cut(count: str) -> None:
    code = (
        "import fastrnn, numpy as np; i = fastrnn.info(); print(i['threads'], i['threads_from']); "
        "x = np.zeros((50, 64, 64), np.float32); lstm = fastrnn.LSTM(64, 256, rng=0); "
        "y, _, tape = lstm.forward(x); lstm.backward(tape, y)"
    )
    cut = "1024 OMP_NUM_THREADS, cut to the most that a call may use"
    assert in_new_process(code, OMP_NUM_THREADS=count) == cut
    assert _core.MAX_THREADS == 1024


@pytest.mark.parametrize("count", ["0", "-1", "abc", "", "2x", "2,0"])
def test_an_omp_num_threads_that_openmp_ignores_is_not_named(count: str) -> None:
    code = "import fastrnn; i = fastrnn.info(); print(i['threads'], i['threads_from'])"
    without = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    expected = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=without
    ).stdout.strip()
    assert expected.split()[1] in ("affinity", "cgroup")
    assert in_new_process(code, OMP_NUM_THREADS=count) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_is_obeyed_and_named() -> None:
    code = (
        "import os; os.environ.pop('OMP_NUM_THREADS', None); "
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "import fastrnn; i = fastrnn.info(); print(i['threads'], i['threads_from'])"
    )
    assert in_new_process(code) == "1 affinity"


@pytest.mark.parametrize("isa", _core.isas())
def test_a_forced_isa_runs_and_is_named(isa: str) -> None:
    code = "import fastrnn; i = fastrnn.info(); print(i['isa'], i['isa_from'])"
    assert in_new_process(code, FASTRNN_ISA=isa) == f"{isa} FASTRNN_ISA={isa}"


def test_an_isa_asked_for_too_late_is_not_named() -> None:
    code = (
        "import os; os.environ.pop('FASTRNN_ISA', None); import fastrnn; "
        "os.environ['FASTRNN_ISA'] = 'nonsense'; print(fastrnn.info()['isa_from'])"
    )
    assert in_new_process(code) == "the best that this machine can run"


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYERS | CELLS)
def test_explain(name: str, training: bool) -> None:
    module = (LAYERS | CELLS)[name](4, 6, rng=0)
    shape = (3, 4) if name in CELLS else (5, 3, 4)
    report = fastrnn.explain(module, normal(shape), training=training)
    sizes = {key: report[key] for key in "TBIHLD"}
    assert sizes == {"T": 1 if name in CELLS else 5, "B": 3, "I": 4, "H": 6, "L": 1, "D": 1}
    assert report["call"] == name.split()[0] + (".forward" if training else "")
    assert report["cell"] == module._problem.cell
    assert report["dtype"] == "float32"
    plan = _core.plan(module._pack("test"), sizes["T"], 3, training)
    assert plan
    assert {key: report[key] for key in plan} == plan, "the engine's own words"
    assert report["notes"] == []
    by_shape = fastrnn.explain(module, shape, training=training)
    assert dict(by_shape) == dict(report)
    assert str(report).splitlines()[0] == f"{module!r}, x {shape}"
    assert any(line.split() == ["notes", "none"] for line in str(report).splitlines())


def test_explain_names_the_reasons_for_copies() -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    x = normal((5, 3, 4))
    off = np.frombuffer(b"\0" + x.tobytes(), np.float32, offset=1).reshape(x.shape)
    cases: dict[str, Any] = {
        "x is copied because it is byte-swapped (>f4)": x.astype(">f4"),
        "x is copied because its elements are not aligned in memory": off,
        "x is copied because its last axis is not contiguous (strides (144, 48, 12) "
        "bytes, expected 4 for the last)": (np.zeros((5, 3, 12), np.float32)[..., ::3]),
    }
    for sentence, array in cases.items():
        assert fastrnn.explain(lstm, array)["notes"] == [sentence]


def test_explain_reads_the_layout() -> None:
    lstm = fastrnn.LSTM(4, 6, batch_first=True, rng=0)
    report = fastrnn.explain(lstm, (3, 5, 4))
    assert (report["T"], report["B"]) == (5, 3)
    report = fastrnn.explain(lstm, (5, 4))
    assert (report["T"], report["B"]) == (5, 1)


def test_explain_refuses_what_the_call_would() -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    for x in (np.zeros((5, 3, 4)), (5, 3, 7), (2**50, 3, 4), [5, 3, 4], (5, 3, 4.0)):
        with pytest.raises((ValueError, TypeError), match=r"^explain: x"):
            fastrnn.explain(lstm, x)
