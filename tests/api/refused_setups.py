"""Wrong sizes, options, parameters and settings, each with the sentence it must meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from refusal import DEEP, LSTM, PARAMS, Refusal, V, W, X

import fastrnn
from fastrnn import functional as F

I, H = LSTM.input_size, LSTM.hidden_size


def without(name: str) -> dict[str, np.ndarray]:
    return {key: value for key, value in PARAMS.items() if key != name}


def delete_parameter() -> None:
    del LSTM.weight_ih_l0


def set_parameter(name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(LSTM, name, value)


def reshape_in_place() -> None:
    lstm = fastrnn.LSTM(I, H, rng=0)
    lstm.__dict__["weight_ih_l0"] = lstm.weight_ih_l0.reshape(I, 4 * H)
    lstm(X)


def load_into_frozen() -> None:
    lstm = fastrnn.LSTM(I, H, rng=0)
    lstm.freeze()
    lstm.load_state_dict(PARAMS)


REFUSED_SETUPS = {
    # sizes, flags, dtypes
    "size bool": Refusal(lambda: fastrnn.LSTM(True, H), W, "LSTM", "input_size is the bool True"),
    "size float": Refusal(
        lambda: fastrnn.GRU(I, 6.0), W, "GRU", "hidden_size is the float 6.0, expected an integer"
    ),
    "size zero": Refusal(
        lambda: fastrnn.RNN(0, H), V, "RNN", "input_size is 0, expected an integer >= 1"
    ),
    "layers many": Refusal(
        lambda: fastrnn.LSTM(I, H, 10**9), V, "LSTM", "num_layers is 1000000000, expected an int"
    ),
    "size beyond words": Refusal(
        lambda: fastrnn.LSTM(I, 10**5000), V, "LSTM", "hidden_size is of 16610 bits, expected"
    ),
    "sizes without memory": Refusal(
        lambda: fastrnn.LSTM(10**9, 10**9),
        V,
        "LSTM",
        "hidden_size has 1000000000 with input_size 1000000000 and num_layers 1, so the "
        "parameters would take 27.8 EiB, more than this machine's",
    ),
    "flag": Refusal(
        lambda: fastrnn.LSTM(I, H, 1, 0.5), W, "LSTM", "bias is the float 0.5, expected True or"
    ),
    "dropout text": Refusal(
        lambda: fastrnn.LSTM(I, H, 2, dropout="0.5"), W, "LSTM", "dropout is the str '0.5', exp"
    ),
    "dropout range": Refusal(
        lambda: fastrnn.LSTM(I, H, 2, dropout=1.5), V, "LSTM", "dropout is 1.5, expected a number"
    ),
    "dropout nan": Refusal(
        lambda: setattr(DEEP, "dropout", float("nan")), V, "LSTM", "dropout is nan, expected a"
    ),
    "dtype none": Refusal(
        lambda: fastrnn.LSTM(I, H, dtype=None), W, "LSTM", "dtype is None, expected np.float32 or"
    ),
    "dtype unknown": Refusal(
        lambda: fastrnn.LSTM(I, H, dtype="floaty"), W, "LSTM", "dtype is the str 'floaty', expect"
    ),
    "dtype half": Refusal(
        lambda: fastrnn.LSTM(I, H, dtype=np.float16), W, "LSTM", "dtype is float16, expected np."
    ),
    "nonlinearity": Refusal(
        lambda: fastrnn.RNN(I, H, 1, "gelu"), V, "RNN", "nonlinearity is the str 'gelu', expected"
    ),
    "nonlinearity type": Refusal(
        lambda: F.rnn(X, PARAMS, nonlinearity=X), W, "rnn", "nonlinearity is a numpy.ndarray, exp"
    ),
    "rng text": Refusal(
        lambda: fastrnn.LSTM(I, H, rng="0"), W, "LSTM", "rng is the str '0', expected None, an"
    ),
    "rng negative": Refusal(
        lambda: fastrnn.LSTM(I, H, rng=-1), V, "LSTM", "rng is the int -1, expected None, an int"
    ),
    "rng float": Refusal(
        lambda: LSTM.reset_parameters(0.5), W, "LSTM.reset_parameters", "rng is the float 0.5, ex"
    ),
    "seed": Refusal(
        lambda: F.lstm(X, PARAMS, seed=2**64),
        V,
        "lstm",
        "seed is 18446744073709551616, expected an integer in [0, 18446744073709551615]",
    ),
    # parameters
    "parameter shape": Refusal(
        set_parameter("weight_ih_l0", np.zeros((3, 3), np.float32)),
        V,
        "LSTM",
        "weight_ih_l0 has shape (3, 3), expected (24, 4) (G*H rows for G gates, as in torch.nn); ",
    ),
    "parameter dtype": Refusal(
        set_parameter("bias_ih_l0", np.zeros(4 * H)), W, "LSTM", "bias_ih_l0 has dtype float64, e"
    ),
    "parameter reshaped": Refusal(
        reshape_in_place, V, "LSTM", "weight_ih_l0 has shape (4, 24), expected (24, 4) (G*H rows"
    ),
    "parameter deleted": Refusal(
        delete_parameter, AttributeError, "LSTM", "weight_ih_l0 is a parameter and cannot be del"
    ),
    "params none": Refusal(
        lambda: F.lstm(X, None), W, "lstm", "params is None, expected a dict of name -> array or a"
    ),
    "params count": Refusal(
        lambda: F.lstm(X, list(PARAMS.values())[:3]),
        V,
        "lstm",
        "params has 3 arrays, expected 4*L*D = 4, or 2*L*D = 2 without biases; set num_layers",
    ),
    "params missing": Refusal(
        lambda: F.lstm(X, without("bias_hh_l0")),
        V,
        "lstm",
        "params has no bias_hh_l0, expected 4 names from weight_ih_l0 to bias_hh_l0; set num_",
    ),
    "params first missing": Refusal(
        lambda: F.lstm(X, without("weight_hh_l0")),
        V,
        "lstm",
        "params has no weight_hh_l0, expected 2 names from weight_ih_l0 to weight_hh_l0; set",
    ),
    "params integer": Refusal(
        lambda: F.lstm(X, [p.astype(int) for p in PARAMS.values()]),
        W,
        "lstm",
        "params has dtype int64 for weight_ih_l0, expected NumPy arrays of float32 or float64; ",
    ),
    "params axes": Refusal(
        lambda: F.lstm(X, [np.zeros(3), np.zeros(3)]),
        V,
        "lstm",
        "weight_ih_l0 has shape (3,), expected two axes, (G*H, I) for weight_ih and (G*H, H)",
    ),
    "params rows": Refusal(
        lambda: F.gru(X, PARAMS),
        V,
        "gru",
        "weight_ih_l0 has shape (24, 4), expected (18, 4) because weight_ih_l0 is (24, 4) and "
        "weight_hh_l0 (24, 6) (G*H = 3*6 rows); pass torch's shapes",
    ),
    "load into frozen parameters": Refusal(
        load_into_frozen,
        RuntimeError,
        "LSTM.load_state_dict",
        "weight_ih_l0 is read-only, expected",
    ),
    "state dict type": Refusal(
        lambda: LSTM.load_state_dict([1]), W, "LSTM.load_state_dict", "state_dict is a list of 1,"
    ),
    "state dict names": Refusal(
        lambda: LSTM.load_state_dict(without("bias_hh_l0") | {"weight_hr_l0": X}),
        V,
        "LSTM.load_state_dict",
        "state_dict has no bias_hh_l0 and unexpected weight_hr_l0, expected 4 names from",
    ),
    "state dict value": Refusal(
        lambda: LSTM.load_state_dict(PARAMS | {"bias_hh_l0": [0.0]}),
        W,
        "LSTM.load_state_dict",
        "bias_hh_l0 is a list of 1, expected a NumPy array or a torch tensor of shape (24,); ",
    ),
    "state dict integer": Refusal(
        lambda: LSTM.load_state_dict(PARAMS | {"bias_hh_l0": np.zeros(24, int)}),
        W,
        "LSTM.load_state_dict",
        "bias_hh_l0 has dtype int64, expected floating-point weights of shape (24,); convert",
    ),
    "state dict shape": Refusal(
        lambda: LSTM.load_state_dict(PARAMS | {"bias_hh_l0": np.zeros(23)}),
        V,
        "LSTM.load_state_dict",
        "bias_hh_l0 has shape (23,), expected (24,) (G*H rows for G gates, as in torch.nn); ",
    ),
    "no parameter": Refusal(
        set_parameter("weight_foo", 1),
        AttributeError,
        "LSTM",
        "weight_foo is no parameter, expected one of weight_ih_l0, weight_hh_l0, bias_ih_l0, ",
    ),
    "train": Refusal(
        lambda: LSTM.train(), AttributeError, "LSTM", "there is no train(), expected none; calling"
    ),
    "proj_size": Refusal(
        lambda: fastrnn.LSTM(I, H, proj_size=3), V, "LSTM", "proj_size is the int 3, expected 0; p"
    ),
    "device": Refusal(
        lambda: fastrnn.GRU(I, H, device="cuda"),
        V,
        "GRU",
        "device is the str 'cuda', expected None or 'cpu'; layers run on the CPU",
    ),
    "device of a cell": Refusal(
        lambda: fastrnn.RNNCell(I, H, device=0),
        V,
        "RNNCell",
        "device is the int 0, expected None or 'cpu'; cells run on the CPU",
    ),
    "rng state none": Refusal(
        lambda: DEEP.set_rng_state(None),
        W,
        "LSTM.set_rng_state",
        "state is None, expected a dict of name -> int; rng_state() returns one",
    ),
    "rng state": Refusal(
        lambda: DEEP.set_rng_state({"state": 1}), V, "LSTM.set_rng_state", "state has no inc, expe"
    ),
    "rng state number": Refusal(
        lambda: DEEP.set_rng_state({"state": 1, "inc": "x"}),
        W,
        "LSTM.set_rng_state",
        "state['inc'] is the str 'x', expected an integer >= 0",
    ),
    # the machine
    "threads": Refusal(
        lambda: fastrnn.set_num_threads(0), V, "set_num_threads", "n is 0, expected an integer in"
    ),
    "explain layer": Refusal(
        lambda: fastrnn.explain(X, LSTM), W, "explain", "layer is a numpy.ndarray, expected an LS"
    ),
    "explain shape": Refusal(
        lambda: fastrnn.explain(LSTM, (5, -1, I)), V, "explain", "x[1] is -1, expected an integer"
    ),
}
