"""The public names: a snapshot, so that a change of the interface is always a decision."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.resources
import inspect
import os
import subprocess
import sys

import pytest

import fastrnn
from fastrnn import _core

NAMES = {
    "GRU",
    "GRUCell",
    "LSTM",
    "LSTMCell",
    "RNN",
    "RNNCell",
    "Stepper",
    "__version__",
    "explain",
    "functional",
    "get_num_threads",
    "info",
    "reference",
    "set_num_threads",
    "training",
}
FUNCTIONAL = {"Tape", "gru", "gru_backward", "lstm", "lstm_backward", "rnn", "rnn_backward"}

LAYER = "input_size, hidden_size, num_layers=1, {}bias=True, batch_first=False, dropout=0.0, " + (
    "bidirectional=False, {}*, device=None, dtype=float32, rng=None"
)
CELL = "input_size, hidden_size, bias=True, {}*, device=None, dtype=float32, rng=None"
CALL = "x, {}state=None, *, {}lengths=None, num_layers=1, bidirectional=False, " + (
    "batch_first=False, dropout=0.0, seed=0, training=False, recompute=False"
)
SIGNATURES = {
    "LSTM": LAYER.format("", "proj_size=0, "),
    "GRU": LAYER.format("", ""),
    "RNN": LAYER.format("nonlinearity='tanh', ", ""),
    "LSTMCell": CELL.format(""),
    "GRUCell": CELL.format(""),
    "RNNCell": CELL.format("nonlinearity='tanh', "),
    "LSTM.__call__": "self, x, state=None, lengths=None",
    "LSTM.forward": "self, x, state=None, lengths=None, *, recompute=False",
    "LSTM.backward": "self, tape, d_y=None, d_state=None",
    "LSTM.load_state_dict": "self, state_dict, strict=True",
    "LSTMCell.__call__": "self, x, state=None",
    "LSTMCell.forward": "self, x, state=None",
    "LSTMCell.backward": "self, tape, d_state",
    "functional.lstm": CALL.format("params, ", ""),
    "functional.gru": CALL.format("params, ", ""),
    "functional.rnn": CALL.format("params, ", "nonlinearity='tanh', "),
    "functional.lstm_backward": "tape, d_y=None, d_state=None",
    "functional.gru_backward": "tape, d_y=None, d_state=None",
    "functional.rnn_backward": "tape, d_y=None, d_state=None",
    "Stepper": "module, streams=1",
    "Stepper.step": "self, x, out=None",
    "Stepper.process": "self, x, out=None",
    "Stepper.reset": "self, mask=None, state=None",
    "Stepper.refresh": "self",
    "info": "",
    "explain": "layer, x, training=False, recompute=False",
    "get_num_threads": "",
    "set_num_threads": "n",
}


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


def test_names() -> None:
    assert set(fastrnn.__all__) == NAMES
    assert set(dir(fastrnn)) == NAMES
    assert len(fastrnn.__all__) == len(NAMES)
    assert all(getattr(fastrnn, name) is not None for name in NAMES)


def test_functional_names() -> None:
    assert set(fastrnn.functional.__all__) == FUNCTIONAL


@pytest.mark.parametrize("path", SIGNATURES)
def test_signature(path: str) -> None:
    found: object = fastrnn
    for part in path.split("."):
        found = getattr(found, part)
    parts = []
    for parameter in inspect.signature(found).parameters.values():  # type: ignore[arg-type]
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        default = parameter.default
        text = getattr(default, "__name__", repr(default))
        parts.append(parameter.name + ("" if default is parameter.empty else f"={text}"))
    assert ", ".join(parts) == SIGNATURES[path]


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'fastrnn' has no attribute 'FastRNN'"):
        _ = fastrnn.FastRNN


def test_version_is_that_of_the_installed_package() -> None:
    try:
        expected = importlib.metadata.version("fastrnn")
    except importlib.metadata.PackageNotFoundError:
        expected = "0+uninstalled"
    assert fastrnn.__version__ == expected
    assert fastrnn.info()["version"] == expected


def test_submodules_are_imported_when_first_used() -> None:
    code = """
import sys, fastrnn
before = {name for name in ("reference", "training") if "fastrnn." + name in sys.modules}
assert not before, before
assert fastrnn.training.__name__ == "fastrnn.training"
assert fastrnn.reference.__name__ == "fastrnn.reference"
assert fastrnn.functional.lstm is not None
print("ok")
"""
    assert in_new_process(code) == "ok"


def test_without_the_engine_the_reference_works_and_the_rest_says_why() -> None:
    code = """
import sys

class NoEngine:
    def find_spec(self, name, path=None, target=None):
        if name == "fastrnn._core":
            raise ImportError("the file is not there")

sys.meta_path.insert(0, NoEngine())
import fastrnn
assert fastrnn.reference.CELLS
for name in ("LSTM", "functional", "info"):
    try:
        getattr(fastrnn, name)
    except ImportError as error:
        print(error)
"""
    sentence = (
        "fastrnn: the compiled engine fastrnn._core could not be loaded (the file is not there); "
        "install the package with 'pip install .' and do not import it from its source folder"
    )
    assert in_new_process(code).splitlines() == [sentence] * 3


def test_a_refused_isa_is_the_whole_message() -> None:
    code = """
import fastrnn
assert fastrnn.reference.CELLS
for name in ("LSTM", "functional", "info"):
    try:
        getattr(fastrnn, name)
    except ImportError as error:
        assert error.__cause__ is None
        print(error)
"""
    lines = in_new_process(code, FASTRNN_ISA="nonsense").splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("fastrnn: FASTRNN_ISA is 'nonsense', expected one of "), line
        assert line.endswith("on this machine; unset it to let fastrnn choose"), line


def test_the_stub_names_what_the_engine_has() -> None:
    stub = importlib.resources.files("fastrnn").joinpath("_core.pyi").read_text()
    nodes = ast.parse(stub).body
    declared = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    compiled = {
        name
        for name, value in vars(_core).items()
        if not name.startswith("__") and (callable(value) or inspect.isclass(value))
    }
    assert declared == compiled


def test_the_package_is_marked_as_typed() -> None:
    assert importlib.resources.files("fastrnn").joinpath("py.typed").is_file()
