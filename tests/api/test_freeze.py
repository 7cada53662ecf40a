"""`freeze`: parameters that nobody can write are not looked at."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from modules import CELLS, LAYERS, normal

import fastrnn

MODULES = LAYERS | CELLS


def outputs(module: Any, x: np.ndarray) -> bytes:
    return pickle.dumps(module(x))


@pytest.mark.parametrize("name", MODULES)
def test_results_are_those_of_the_module_before(name: str) -> None:
    module = MODULES[name](4, 6, rng=0)
    x = normal((3, 4))
    before = outputs(module, x)
    values = module.state_dict()
    module.freeze()
    assert outputs(module, x) == before
    assert all((array == values[key]).all() for key, array in module.parameters().items())
    assert not any(array.flags.writeable for array in module.parameters().values())


def test_a_frozen_call_does_not_look_at_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    lstm.freeze()
    x = normal((5, 3, 4))
    expected = outputs(lstm, x)
    monkeypatch.setattr(type(lstm._problem), "pack", lambda *_: pytest.fail("weights were read"))
    assert outputs(lstm, x) == expected
    y, _, tape = lstm.forward(x)
    assert set(lstm.backward(tape, y)[2]) == set(lstm.parameters())


def test_arrays_held_from_before_are_not_the_modules() -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    x = normal((5, 3, 4))
    held = lstm.weight_hh_l0
    expected = outputs(lstm, x)
    lstm.freeze()
    held += 1
    assert outputs(lstm, x) == expected
    with pytest.raises(ValueError, match="read-only"):
        lstm.weight_hh_l0[0, 0] = 1


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.load_state_dict(m.state_dict()),
        lambda m: m.reset_parameters(0),
        lambda m: setattr(m, "weight_ih_l0", np.ones((24, 4), np.float32)),
    ],
    ids=["load_state_dict", "reset_parameters", "assignment"],
)
def test_changes_are_refused_and_nothing_is_lost(change: Any) -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    lstm.freeze()
    x = normal((5, 3, 4))
    expected = outputs(lstm, x)
    with pytest.raises(RuntimeError, match=r"weight_ih_l0 is read-only.*call unfreeze\(\) first"):
        change(lstm)
    assert outputs(lstm, x) == expected
    lstm.unfreeze()
    change(lstm)


def test_unfrozen_parameters_are_looked_at() -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    x = normal((5, 3, 4))
    lstm.freeze()
    before = outputs(lstm, x)
    lstm.unfreeze()
    lstm.weight_hh_l0[0, 0] += 1
    assert outputs(lstm, x) != before


def test_a_flag_set_by_hand_is_noticed() -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    x = normal((5, 3, 4))
    lstm.freeze()
    before = outputs(lstm, x)
    lstm.weight_hh_l0.flags.writeable = True
    lstm.weight_hh_l0[0, 0] += 1
    assert outputs(lstm, x) != before


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_not_frozen(copied: Any) -> None:
    lstm = fastrnn.LSTM(4, 6, rng=0)
    x = normal((5, 3, 4))
    lstm.freeze()
    twin = copied(lstm)
    assert outputs(twin, x) == outputs(lstm, x)
    twin.load_state_dict({name: array + 1 for name, array in twin.state_dict().items()})
    assert outputs(twin, x) != outputs(lstm, x)
