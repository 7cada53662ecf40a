"""Wrong steps, blocks, streams and states of a stepper, each with the sentence it must meet."""

from __future__ import annotations

import copy
import pickle

import numpy as np
from modules import normal
from refusal import CELL, LSTM, H, I, OnGpu, Refusal, Unreadable, V, W

import fastrnn

STEPPER = fastrnn.Stepper(LSTM, 3)
GRU_STEPPER = fastrnn.Stepper(fastrnn.GRU(I, H, num_layers=2, rng=0))
X_T, OUT = normal((3, I)), np.empty((3, H), np.float32)
READ_ONLY = np.empty((3, H), np.float32)
READ_ONLY.flags.writeable = False

REFUSED_STEPS = {
    "stepper cell": Refusal(lambda: fastrnn.Stepper(CELL), W, "Stepper", "an LSTM, GRU or RNN"),
    "stepper nothing": Refusal(lambda: fastrnn.Stepper(None), W, "Stepper", "module is None"),
    "stepper two directions": Refusal(
        lambda: fastrnn.Stepper(fastrnn.GRU(4, 6, bidirectional=True)),
        V,
        "Stepper",
        "expected one direction",
    ),
    "stepper no stream": Refusal(lambda: fastrnn.Stepper(LSTM, 0), V, "Stepper", "streams is 0"),
    "stepper half a stream": Refusal(
        lambda: fastrnn.Stepper(LSTM, 0.5), W, "Stepper", "streams is the float 0.5"
    ),
    "stepper too many": Refusal(lambda: fastrnn.Stepper(LSTM, 10**18), V, "Stepper", "streams is"),
    "stepper no x": Refusal(lambda: STEPPER.step(), W, "Stepper.step", "x is missing"),
    "stepper three": Refusal(lambda: STEPPER.step(X_T, OUT, 1), W, "Stepper.step", "3 arguments"),
    "stepper unknown": Refusal(
        lambda: STEPPER.step(X_T, into=OUT), W, "Stepper.step", "into is no argument"
    ),
    "stepper twice": Refusal(
        lambda: STEPPER.step(X_T, x=X_T), W, "Stepper.step", "x is given twice"
    ),
    "stepper list": Refusal(
        lambda: STEPPER.step([[0.0] * 4] * 3), W, "Stepper.step", "x is a list of 3"
    ),
    "stepper dtype": Refusal(
        lambda: STEPPER.step(X_T.astype(float)), W, "Stepper.step", "x has dtype float64"
    ),
    "stepper one stream": Refusal(
        lambda: STEPPER.step(X_T[0]), V, "Stepper.step", "x has 1 axes, shape (4,)"
    ),
    "stepper block as step": Refusal(
        lambda: STEPPER.step(X_T[None]), V, "Stepper.step", "`process` takes blocks"
    ),
    "stepper step as block": Refusal(
        lambda: STEPPER.process(X_T), V, "Stepper.process", "`step` takes one step"
    ),
    "stepper streams": Refusal(
        lambda: STEPPER.step(X_T[:2]), V, "Stepper.step", "expected (S, I) with S = streams = 3"
    ),
    "stepper inputs": Refusal(
        lambda: STEPPER.step(X_T[:, :3]), V, "Stepper.step", "x has shape (3, 3)"
    ),
    "stepper batch first": Refusal(
        lambda: STEPPER.process(np.zeros((3, 9, 4), np.float32)),
        V,
        "Stepper.process",
        "time comes first",
    ),
    "stepper out list": Refusal(
        lambda: STEPPER.step(X_T, []), W, "Stepper.step", "out is a list of 0"
    ),
    "stepper out dtype": Refusal(
        lambda: STEPPER.step(X_T, OUT.astype(float)), W, "Stepper.step", "out has dtype float64"
    ),
    "stepper out shape": Refusal(
        lambda: STEPPER.step(X_T, OUT[:2]), V, "Stepper.step", "out has shape (2, 6)"
    ),
    "stepper out axes": Refusal(
        lambda: GRU_STEPPER.step(X_T[0], OUT[:1]), V, "Stepper.step", "expected (H,) = (6,)"
    ),
    "stepper out read-only": Refusal(
        lambda: STEPPER.step(X_T, READ_ONLY), V, "Stepper.step", "out is read-only"
    ),
    "stepper out gaps": Refusal(
        lambda: STEPPER.step(X_T, np.empty((3, 12), np.float32)[:, ::2]),
        V,
        "Stepper.step",
        "its last axis has gaps",
    ),
    "stepper out swapped": Refusal(
        lambda: STEPPER.step(X_T, OUT.astype(">f4")), W, "Stepper.step", "out has dtype >f4"
    ),
    "stepper state alone": Refusal(
        lambda: setattr(STEPPER, "state", OUT[None]), W, "Stepper.state", "(h, c)"
    ),
    "stepper state shape": Refusal(
        lambda: setattr(STEPPER, "state", (OUT[None], OUT)),
        V,
        "Stepper.state",
        "c has shape (3, 6), expected (L, S, H) = (1, 3, 6)",
    ),
    "stepper state tuple": Refusal(
        lambda: setattr(GRU_STEPPER, "state", (OUT, OUT)),
        W,
        "Stepper.state",
        "this cell keeps h alone",
    ),
    "stepper state of one": Refusal(
        lambda: STEPPER.reset(state=(OUT[None],)), V, "Stepper.reset", "a tuple of 1"
    ),
    "stepper mask numbers": Refusal(
        lambda: STEPPER.reset([0, 2]), W, "Stepper.reset", "write np.isin"
    ),
    "stepper mask shape": Refusal(
        lambda: STEPPER.reset([True]), V, "Stepper.reset", "mask has shape (1,)"
    ),
    "stepper pickle": Refusal(
        lambda: pickle.dumps(STEPPER), W, "Stepper", "cannot be pickled or copied"
    ),
    "stepper copy": Refusal(
        lambda: copy.copy(STEPPER), W, "Stepper", "cannot be pickled or copied"
    ),
    "stepper on gpu": Refusal(
        lambda: STEPPER.step(OnGpu()), W, "Stepper.step", "steppers run on the CPU, copy it there"
    ),
    "stepper mask unreadable": Refusal(
        lambda: STEPPER.reset(Unreadable()),
        W,
        "Stepper.reset",
        "could not be read as an array (OSError: the disk is gone)",
    ),
}
