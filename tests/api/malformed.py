"""Malformed calls by number: call n is the same on every machine. Run by test_malformed.py.

Each takes a valid call and makes exactly one argument wrong. It must raise ValueError or
TypeError, nothing else, with a sentence that starts with the function and names the argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from cases import SEED
from modules import LAYERS, random_state
from wrong_values import (
    Random,
    choose,
    masked,
    not_an_array,
    wrong_array,
    wrong_flag,
    wrong_integer,
    wrong_lengths,
    wrong_probability,
    wrong_segments,
    wrong_state,
)

import fastrnn
from fastrnn import functional as F


@dataclass
class Malformed:
    """A wrong call, how its sentence must start and which of these words must be in it."""

    what: str
    run: Callable[[], Any]
    call: str
    words: tuple[str, ...]


@dataclass
class Valid:
    """A layer and the arguments of a valid call."""

    name: str
    layer: Any
    x: np.ndarray
    state: Any
    steps: int
    rows: int


def valid(rng: Random) -> Valid:
    """A small random layer with a fitting input and state."""
    kind = choose(rng, LAYERS)
    steps, rows, inputs, hidden = (int(n) for n in rng.integers(1, 5, 4))
    batch_first = bool(rng.integers(2))
    layer = LAYERS[kind](
        inputs,
        hidden,
        num_layers=int(rng.integers(1, 3)),
        bias=bool(rng.integers(2)),
        batch_first=batch_first,
        bidirectional=bool(rng.integers(2)),
        dtype=choose(rng, ["f4", "f8"]),
        rng=rng,
    )
    outer = (rows, steps) if batch_first else (steps, rows)
    x = np.zeros((*outer, inputs), layer.dtype)
    return Valid(kind.split()[0], layer, x, random_state(layer, rows), steps, rows)


def wrong_input(rng: Random) -> Malformed:
    v = valid(rng)
    method = choose(rng, ["__call__", "forward"])
    call = v.name + ("" if method == "__call__" else ".forward")
    run = getattr(v.layer, method)
    argument = choose(rng, ["x", "huge x", "state", "lengths"])
    if argument == "x":
        wrong = choose(rng, [None, wrong_array(rng, v.x, axes=(2,), ranks=(2, 3))])
        return Malformed("x", lambda: run(wrong, v.state), call, ("x",))
    if argument == "huge x":
        axis, shape = int(rng.integers(2)), list(v.x.shape)
        shape[axis] = choose(rng, [2**40, 2**50, 2**53, 2**54])
        if axis == (
            0 if v.layer.batch_first else 1
        ):  # rows: their order takes memory without steps
            shape[1 - axis] = choose(rng, [0, 1, 3])
        huge = np.broadcast_to(np.zeros(shape[2], v.x.dtype), shape)
        return Malformed("huge x", lambda: run(huge), call, ("x",))
    if argument == "state":
        state, words = wrong_state(rng, v.state, "", "_0")
        return Malformed("state", lambda: run(v.x, state), call, words)
    lengths = wrong_lengths(rng, v.steps, v.rows)
    return Malformed("lengths", lambda: run(v.x, v.state, lengths), call, ("lengths",))


def wrong_backward(rng: Random) -> Malformed:
    v = valid(rng)
    y, state, tape = v.layer.forward(v.x, v.state)
    call, run = f"{v.name}.backward", v.layer.backward
    argument = choose(rng, ["tape", "d_y", "d_state"])
    if argument == "tape":
        other = valid(rng)
        foreign = other.layer.forward(other.x)[2]
        wrong = choose(rng, [None, y, state, foreign, tape.core, not_an_array(rng)])
        return Malformed("tape", lambda: run(wrong, y, state), call, ("tape",))
    if argument == "d_y":
        wrong = wrong_array(rng, y)
        return Malformed("d_y", lambda: run(tape, wrong, state), call, ("d_y",))
    wrong, words = wrong_state(rng, state, "d_", "_n")
    return Malformed("d_state", lambda: run(tape, y, wrong), call, words)


def wrong_constructor(rng: Random) -> Malformed:
    name = choose(rng, ["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"])
    wrong: dict[str, Callable[[], Any]] = {
        "input_size": lambda: wrong_integer(rng, 1, 2**60),
        "hidden_size": lambda: wrong_integer(rng, 1, 2**60),
        "bias": lambda: wrong_flag(rng),
        "dtype": lambda: choose(
            rng,
            [None, int, "f2", "g", ">f4", "F", "O", "floaty", 3, [], {}, object(), "i4,f4", b""],
        ),
        "device": lambda: choose(rng, ["cuda", "CPU", b"cpu", 0, True, [], {}, object()]),
        "rng": lambda: choose(rng, [-1, 1.5, "0", b"0", True, {}, object(), [-1], float, [0.5]]),
    }
    if not name.endswith("Cell"):
        wrong |= {
            "num_layers": lambda: wrong_integer(rng, 1, 65536),
            "batch_first": lambda: wrong_flag(rng),
            "bidirectional": lambda: wrong_flag(rng),
            "dropout": lambda: wrong_probability(rng),
        }
    if name.startswith("RNN"):
        wrong["nonlinearity"] = lambda: choose(
            rng, [None, "gelu", "", "TANH", b"tanh", 1, True, ["tanh"], np.tanh, np.zeros(2), {}]
        )
    argument = choose(rng, wrong)
    given = {"input_size": 3, "hidden_size": 4, argument: wrong[argument]()}
    words = (argument, "hidden_size")  # huge sizes are refused for the memory they take together
    return Malformed(argument, lambda: getattr(fastrnn, name)(**given), name, words)


def wrong_cell_call(rng: Random) -> Malformed:
    name, rows = choose(rng, ["LSTMCell", "GRUCell", "RNNCell"]), int(rng.integers(1, 4))
    cell = getattr(fastrnn, name)(3, 4, dtype=choose(rng, ["f4", "f8"]), rng=rng)
    x, state = np.zeros((rows, 3), cell.dtype), random_state(cell, rows)
    after, tape = cell.forward(x, state)
    argument = choose(rng, ["x", "state", "d_state"])
    if argument == "x":
        wrong = choose(rng, [None, wrong_array(rng, x, axes=(1,), ranks=(1, 2))])
        return Malformed("x", lambda: cell(wrong, state), name, ("x",))
    if argument == "state":
        wrong, words = wrong_state(rng, state, "", "_0")
        return Malformed("state", lambda: cell.forward(x, wrong), f"{name}.forward", words)
    wrong, words = wrong_state(rng, after, "d_", "_n")
    return Malformed("d_state", lambda: cell.backward(tape, wrong), f"{name}.backward", words)


def wrong_parameter(rng: Random) -> Malformed:
    v = valid(rng)
    parameters = v.layer.parameters()
    name = choose(rng, parameters)
    how = choose(rng, ["attribute", "value", "missing", "unexpected", "type", "strict"])
    load, call = v.layer.load_state_dict, f"{v.name}.load_state_dict"
    if how == "attribute":
        wrong = choose(rng, [None, wrong_array(rng, parameters[name])])
        return Malformed("attribute", lambda: setattr(v.layer, name, wrong), v.name, (name,))
    if how == "strict":
        flag = wrong_flag(rng)
        return Malformed("strict", lambda: load(parameters, flag), call, ("strict",))
    if how == "type":
        given = choose(rng, [None, [], list(parameters.items()), "abc", 3, parameters.keys()])
        return Malformed("state_dict", lambda: load(given), call, ("state_dict",))
    given = dict(parameters)
    if how == "missing":
        del given[name]
    elif how == "unexpected":
        given[choose(rng, ["fc.weight", "weight_hr_l0", "", 3, None, "weight_ih_l9"])] = given[name]
    else:
        size = np.zeros([n + 1 for n in parameters[name].shape])
        number = choose(rng, [None, 1.0, "abc", [1.0], size, masked(parameters[name])])
        given[name] = choose(
            rng, [number, parameters[name].astype(choose(rng, ["i4", "F", "O", "?"]))]
        )
    return Malformed(how, lambda: load(given), call, (name, "state_dict"))


def wrong_function(rng: Random) -> Malformed:
    v = valid(rng)
    call, params = v.name.lower(), v.layer.parameters()
    options: dict[str, Any] = {
        "num_layers": v.layer.num_layers,
        "bidirectional": v.layer.bidirectional,
        "batch_first": v.layer.batch_first,
    }
    wrong: dict[str, Callable[[], Any]] = {
        "num_layers": lambda: wrong_integer(rng, 1, 65536),
        "bidirectional": lambda: wrong_flag(rng),
        "batch_first": lambda: wrong_flag(rng),
        "training": lambda: wrong_flag(rng),
        "recompute": lambda: wrong_segments(rng),
        "dropout": lambda: wrong_probability(rng),
        "seed": lambda: wrong_integer(rng, 0, 2**64 - 1),
        "params": lambda: None,
        "one of params": lambda: None,
        "tape": lambda: choose(rng, [None, v.x, not_an_array(rng)]),
    }
    argument, given, words = choose(rng, wrong), list(params.values()), tuple(params)
    function = getattr(F, call)
    if argument == "tape":
        tape = wrong["tape"]()
        backward = getattr(F, f"{call}_backward")
        return Malformed("tape", lambda: backward(tape, v.x), f"{call}_backward", ("tape",))
    if argument == "params":
        name = choose(rng, params)
        less = {key: value for key, value in params.items() if key != name}
        bad = choose(rng, [None, [], {}, "abc", 3, given[:-1], [*given, v.x], less, v.x])
        return Malformed("params", lambda: function(v.x, bad, **options), call, ("params",))
    if argument == "one of params":
        at = int(rng.integers(len(given)))
        given[at] = choose(rng, [None, wrong_array(rng, given[at])])
        bad = choose(rng, [given, dict(zip(params, given, strict=True))])
        # sizes are read off the first two: when these are wrong, others no longer fit
        words = ("params", "x", *words)
        return Malformed("params", lambda: function(v.x, bad, **options), call, words)
    options[argument] = wrong[argument]()
    words = (argument, "params")  # num_layers and bidirectional say how many params there are
    return Malformed(argument, lambda: function(v.x, given, **options), call, words)


def wrong_setting(rng: Random) -> Malformed:
    v = valid(rng)
    which = choose(rng, ["threads", "layer", "shape", "array", "training", "rng", "reset", "drop"])
    if which == "threads":
        n = wrong_integer(rng, 1, 1024)
        return Malformed("n", lambda: fastrnn.set_num_threads(n), "set_num_threads", ("n",))
    if which == "rng":
        number = wrong_integer(rng, 0, 2**128 - 1)
        state = choose(rng, [{}, {"state": 1}, {"state": 1, "inc": number}, None, [1, 2], "abc"])
        call = f"{v.name}.set_rng_state"
        return Malformed("state", lambda: v.layer.set_rng_state(state), call, ("state",))
    if which == "reset":
        wrong = choose(rng, [-1, 1.5, "0", True, {}, object()])
        call = f"{v.name}.reset_parameters"
        return Malformed("rng", lambda: v.layer.reset_parameters(wrong), call, ("rng",))
    if which == "drop":
        p = wrong_probability(rng)
        return Malformed("dropout", lambda: setattr(v.layer, "dropout", p), v.name, ("dropout",))
    layer, x, training, word = v.layer, v.x, False, "x"
    if which == "layer":
        layer, word = not_an_array(rng), "layer"
    elif which == "shape":
        bad = wrong_integer(rng, 0)
        x = choose(rng, [(bad, 2, layer.input_size), (), (3,), (2**50, 2**10, layer.input_size)])
    elif which == "array":
        x = wrong_array(rng, x, axes=(2,), ranks=(2, 3))
    else:
        training, word = wrong_flag(rng), "training"
    return Malformed(which, lambda: fastrnn.explain(layer, x, training), "explain", (word,))


KINDS = [
    wrong_input,
    wrong_input,
    wrong_input,
    wrong_backward,
    wrong_backward,
    wrong_constructor,
    wrong_cell_call,
    wrong_parameter,
    wrong_function,
    wrong_setting,
]


def malformed(number: int) -> Malformed:
    """The malformed call of this number."""
    rng = np.random.default_rng([SEED, number])
    return KINDS[number % len(KINDS)](rng)
