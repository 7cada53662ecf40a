"""Wrong inputs, states, lengths, tapes and gradients, each with the sentence it must meet."""

from __future__ import annotations

import copy

import numpy as np
from refusal import (
    BATCH_FIRST,
    CELL,
    DEEP,
    GRU,
    HUGE,
    LONG,
    LONG_TAPE,
    LSTM,
    MANY_ROWS,
    RNN,
    STATE,
    TAPE,
    TAPE_F,
    I,
    OnGpu,
    Refusal,
    Unreadable,
    V,
    W,
    X,
    Y,
    fake_torch_tensor,
    starved,
)

from fastrnn import functional as F

REFUSED_CALLS = {
    # memory
    "x of no steps and 2**40 rows": Refusal(
        lambda: LSTM(MANY_ROWS), V, "LSTM", "x has T = 0 and B = 1099511627776, so y and the st"
    ),
    "x long, no memory": Refusal(
        lambda: starved(lambda: LSTM.forward(LONG)),
        MemoryError,
        "LSTM.forward",
        "x has T = 262144 and B = 1, so the call takes",
    ),
    "tape long, no memory": Refusal(
        lambda: starved(lambda: DEEP.backward(LONG_TAPE)),
        MemoryError,
        "LSTM.backward",
        "tape has T = 262144 and B = 1, so the call takes",
    ),
    # x
    "x none": Refusal(lambda: LSTM(None), W, "LSTM", "x is None, expected a NumPy array of float"),
    "x list": Refusal(
        lambda: LSTM.forward([[[0.0] * I]]),
        W,
        "LSTM.forward",
        "x is a list of 1, expected a NumPy array of float32; numbers and sequences have no "
        "dtype, write np.asarray(x, dtype=np.float32)",
    ),
    "x masked": Refusal(
        lambda: LSTM(np.ma.masked_array(X)), W, "LSTM", "x is a masked array, expected a NumPy"
    ),
    "x torch": Refusal(
        lambda: LSTM(fake_torch_tensor()), W, "LSTM", "x is a torch tensor, expected a NumPy array"
    ),
    "x unreadable": Refusal(
        lambda: LSTM(Unreadable()), W, "LSTM", "it could not be read as an array (OSError: the d"
    ),
    "x float64": Refusal(
        lambda: LSTM(X.astype(np.float64)),
        W,
        "LSTM",
        "x has dtype float64, expected float32, the dtype of the parameters; "
        "write x.astype(np.float32), or create the parameters with dtype=np.float64",
    ),
    "x integer": Refusal(
        lambda: LSTM(X.astype(int)), W, "LSTM", "x has dtype int64, expected float32, the dtype"
    ),
    "x half": Refusal(
        lambda: LSTM(X.astype(np.float16)), W, "LSTM", "x has dtype float16, expected float32"
    ),
    "x axes": Refusal(
        lambda: LSTM(X[0, 0]), V, "LSTM", "x has 1 axes, shape (4,), expected (T, B, I) or (T, I)"
    ),
    "x axes cell": Refusal(
        lambda: CELL(X), V, "LSTMCell", "x has 3 axes, shape (5, 3, 4), expected (B, I) or (I,)"
    ),
    "x size": Refusal(
        lambda: BATCH_FIRST(X[..., :2]),
        V,
        "LSTM",
        "x has shape (5, 3, 2), expected (B, T, I) with I = input_size = 4; make the last axis th",
    ),
    "x huge": Refusal(
        lambda: LSTM(HUGE),
        V,
        "LSTM",
        "x has T = 1125899906842624 and B = 1, so y and the states would take",
    ),
    # recompute
    "recompute text": Refusal(
        lambda: LSTM.forward(X, recompute="yes"),
        W,
        "LSTM.forward",
        "recompute is the str 'yes', expected False (keep everything), True (the engine picks the "
        "segments) or the steps of a segment, an integer >= 1",
    ),
    "recompute zero": Refusal(
        lambda: F.lstm(X, LSTM.parameters(), recompute=0), V, "lstm", "recompute is 0, expected F"
    ),
    # states
    "state array": Refusal(
        lambda: LSTM(X, STATE),
        W,
        "LSTM",
        "state is a numpy.ndarray, expected a tuple (h_0, c_0) of arrays (L*D, B, H); None",
    ),
    "state of three": Refusal(
        lambda: LSTM(X, (STATE, STATE, STATE)), V, "LSTM", "state is a tuple of 3, expected a tup"
    ),
    "state tuple": Refusal(
        lambda: GRU(X, (STATE,)),
        W,
        "GRU",
        "state is a tuple of 1, expected one array h_0 (L*D, B, H), because this cell keeps h",
    ),
    "state shape": Refusal(
        lambda: LSTM(X, (STATE, STATE[:, :2])),
        V,
        "LSTM",
        "c_0 has shape (1, 2, 6), expected (L*D, B, H) = (1, 3, 6); states have the batch size",
    ),
    "state batch first": Refusal(
        lambda: BATCH_FIRST(X, (STATE[:, [0, 0, 0, 0, 0]].swapaxes(0, 1), None)),
        V,
        "LSTM",
        "states are never batch-first, pass h_0.swapaxes(0, 1)",
    ),
    "state of one sequence": Refusal(
        lambda: GRU(X[:, 0], STATE), V, "GRU", "h_0 has shape (1, 3, 6), expected (L*D, H) = (1, 6"
    ),
    "state dtype": Refusal(
        lambda: RNN(X, STATE.astype(float)), W, "RNN", "h_0 has dtype float64, expected float32"
    ),
    "state on the GPU": Refusal(lambda: GRU(X, OnGpu()), W, "GRU", "h_0 is a "),
    # lengths
    "lengths without batch": Refusal(
        lambda: LSTM(X[:, 0], lengths=[5]), V, "LSTM", "lengths is given but x has no batch axis"
    ),
    "lengths text": Refusal(
        lambda: LSTM(X, lengths="abc"), W, "LSTM", "lengths is the str 'abc', expected (B,) = (3,"
    ),
    "lengths torch": Refusal(
        lambda: LSTM(X, lengths=fake_torch_tensor()), W, "LSTM", "lengths is a torch tensor, expe"
    ),
    "lengths ragged": Refusal(
        lambda: LSTM(X, lengths=[[1], [1, 2]]), W, "LSTM", "lengths is a list of 2, expected (B,)"
    ),
    "lengths float": Refusal(
        lambda: LSTM(X, lengths=[1.0, np.nan, 2.0]), W, "LSTM", "lengths has dtype float64, expec"
    ),
    "lengths bool": Refusal(
        lambda: LSTM(X, lengths=[True, True, False]), W, "LSTM", "lengths has dtype bool, expecte"
    ),
    "lengths shape": Refusal(
        lambda: LSTM(X, lengths=[1, 2]), V, "LSTM", "lengths has shape (2,), expected (B,) = (3,)"
    ),
    "lengths negative": Refusal(
        lambda: LSTM(X, lengths=[1, -1, 2]), V, "LSTM", "lengths has -1 at row 1, expected (B,) ="
    ),
    "lengths long": Refusal(
        lambda: LSTM(X, lengths=[1, 2, 6]), V, "LSTM", "lengths has 6 at row 2, expected (B,) = (3"
    ),
    # backward
    "tape type": Refusal(
        lambda: LSTM.backward(Y, Y),
        W,
        "LSTM.backward",
        "tape is a numpy.ndarray, expected the Tape",
    ),
    "tape cell": Refusal(
        lambda: F.gru_backward(TAPE, Y), V, "gru_backward", "tape was made by the cell lstm, expec"
    ),
    "tape module": Refusal(
        lambda: BATCH_FIRST.backward(TAPE, Y),
        V,
        "LSTM.backward",
        "tape was made by another module, expected one of this module; call backward of the",
    ),
    "tape function": Refusal(
        lambda: LSTM.backward(TAPE_F, Y), V, "LSTM.backward", "tape was made by a function, expec"
    ),
    "tape copied": Refusal(
        lambda: copy.deepcopy(TAPE), W, "Tape", "a tape holds memory of the engine and cannot be"
    ),
    "d_y shape": Refusal(
        lambda: LSTM.backward(TAPE, Y[1:]),
        V,
        "LSTM.backward",
        "d_y has shape (4, 3, 6), expected (T, B, D*H) = (5, 3, 6); d_y has the shape of the y",
    ),
    "d_h_n shape": Refusal(
        lambda: LSTM.backward(TAPE, Y, (STATE[0], None)),
        V,
        "LSTM.backward",
        "d_h_n has shape (3, 6), expected (L*D, B, H) = (1, 3, 6); states have the batch size",
    ),
}
