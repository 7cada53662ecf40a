"""Loading the engine: libgomp's spin is bounded meanwhile, a wrong FASTRNN_ISA is one sentence."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from fastrnn import _engine

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
ABSENT: dict[str, str] = {}


def seen_by_the_engine(monkeypatch: pytest.MonkeyPatch, fails: bool = False) -> dict[str, str]:
    """The variables while the engine is imported; they must be the same before and after."""
    seen: dict[str, str] = {}

    def engine(name: str) -> object:
        assert name == "fastrnn._core"
        seen.update((n, os.environ[n]) for n in NAMES if n in os.environ)
        if fails:
            raise ImportError("no engine")
        return object()

    before = dict(os.environ)
    monkeypatch.setattr(importlib, "import_module", engine)
    if fails:
        with pytest.raises(ImportError, match="no engine"):
            _engine.load_engine()
    else:
        _engine.load_engine()
    assert dict(os.environ) == before
    return seen


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (ABSENT, {"GOMP_SPINCOUNT": "8000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
        ({"OMP_WAIT_POLICY": ""}, {"OMP_WAIT_POLICY": ""}),
    ],
    ids=["unset", "the user's count", "the user's policy", "an empty policy"],
)
def test_spin_count(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], seen: dict[str, str], fails: bool
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert seen_by_the_engine(monkeypatch, fails) == seen


def test_the_command_refuses_a_wrong_isa_with_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fastrnn", "info"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"FASTRNN_ISA": "nonsense"},
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("fastrnn info: error: FASTRNN_ISA is 'nonsense', expected one of "), line
    assert line.endswith(" on this machine; unset it to let fastrnn choose"), line
