"""Every sentence that refuses an argument: which exception, which call and argument it names.

The last test proves the "every": no `raise` of the checking modules is left untouched.
"""

from __future__ import annotations

import ast
import re
import types
from pathlib import Path

import numpy as np
import pytest
from modules import CELLS, LAYERS
from refusal import CELL, GRU, LSTM, H, I, OnGpu, X
from refused_calls import REFUSED_CALLS
from refused_gpu import REFUSED_GPU
from refused_setups import REFUSED_SETUPS
from refused_steps import GRU_STEPPER, REFUSED_STEPS, STEPPER

import fastrnn

PARTS = (REFUSED_CALLS, REFUSED_SETUPS, REFUSED_STEPS, REFUSED_GPU)
REFUSALS = {name: refusal for part in PARTS for name, refusal in part.items()}
assert len(REFUSALS) == sum(len(part) for part in PARTS)


@pytest.mark.parametrize("name", REFUSALS)
def test_sentence(name: str) -> None:
    refusal = REFUSALS[name]
    with pytest.raises(refusal.kind) as caught:
        refusal.run()
    sentence = str(caught.value)
    assert type(caught.value) is refusal.kind, f"a subclass: {type(caught.value)}"
    assert sentence.startswith(f"{refusal.call}: "), sentence
    assert refusal.piece in sentence, sentence
    assert "\n" not in sentence
    assert not sentence.endswith("."), sentence
    assert re.search(r"expected|more than|instead|create|run backward", sentence), sentence


@pytest.mark.parametrize("name", LAYERS | CELLS)
def test_python_names_the_class_that_was_called(name: str) -> None:
    """In its own sentences, about the number of arguments and their names."""
    module = (LAYERS | CELLS)[name](I, H)
    cls = type(module).__name__
    for method in ("__call__", "forward", "backward", "parameters", "load_state_dict"):
        with pytest.raises(TypeError, match=rf"^{cls}\.{method}\(\) .* positional arguments? "):
            getattr(module, method)(*[None] * 5)
        with pytest.raises(TypeError, match=rf"^{cls}\.{method}\(\) got an unexpected keyword "):
            getattr(module, method)(foo=1)


def test_a_gpu_array_meets_the_absent_backend() -> None:
    if fastrnn.info()["backends"] == ["cpu", "cuda"]:
        pytest.skip("built with CUDA: GPU arrays are not refused")
    for call in (LSTM, GRU.forward, CELL):
        with pytest.raises(
            RuntimeError, match=r"^fastrnn: x is a GPU array, .* no CUDA kernels; pass a NumPy"
        ):
            call(OnGpu())


def test_a_refused_load_changes_nothing() -> None:
    lstm = fastrnn.LSTM(I, H, rng=0)
    before = lstm.state_dict()
    wrong = {name: np.zeros_like(array) for name, array in before.items()}
    wrong["bias_hh_l0"] = np.zeros(7)
    with pytest.raises(ValueError, match="bias_hh_l0"):
        lstm.load_state_dict(wrong)
    for name, array in lstm.parameters().items():
        assert (array == before[name]).all(), name


def test_a_refused_call_draws_no_dropout_seed() -> None:
    lstm = fastrnn.LSTM(I, H, 2, dropout=0.5, rng=0)
    before = lstm.rng_state()
    with pytest.raises(ValueError, match="lengths"):
        lstm.forward(X, lengths=[1])
    assert lstm.rng_state() == before
    lstm.forward(X)
    assert lstm.rng_state() != before


@pytest.mark.parametrize("name", REFUSED_STEPS)
def test_a_refused_step_changes_no_state(name: str) -> None:
    before = [*STEPPER.state, GRU_STEPPER.state]
    with pytest.raises(REFUSED_STEPS[name].kind):
        REFUSED_STEPS[name].run()
    after = [*STEPPER.state, GRU_STEPPER.state]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def raise_statements() -> dict[tuple[str, int], str]:
    """File and first line of every `raise` in the modules that check, with its text."""
    package = Path(fastrnn.__file__).parent
    files = [*package.glob("*.py"), *package.glob("_check/*.py")]
    found = {}
    for file in files:
        if file.name == "__init__.py":  # of a missing engine and of names: tests/api/test_names.py
            continue
        source = file.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Raise):
                text = ast.get_source_segment(source, node) or ""
                found[str(file), node.lineno] = text
    return found


def raised_at(error: BaseException) -> tuple[str, int]:
    frame: types.TracebackType | None = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    assert frame is not None
    return frame.tb_frame.f_code.co_filename, frame.tb_lineno


def test_no_sentence_is_left_out() -> None:
    statements = raise_statements()
    assert len(statements) > 30
    reached = set()
    for refusal in REFUSALS.values():
        try:
            refusal.run()
        except Exception as error:
            reached.add(raised_at(error))
    missed = {place: text for place, text in statements.items() if place not in reached}
    assert not missed, "\n".join(f"{place}: {text}" for place, text in missed.items())
