"""Keras on TensorFlow: keras.layers.LSTM, GRU and SimpleRNN inside ``tf.function``."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import numpy as np

from bench.peers.base import Array, Peer
from bench.problems import Problem

# Keras orders the row blocks i f c o, as PyTorch does, and z r h where PyTorch has r z n.
_BLOCK_ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "rnn": (0,)}


class KerasCpu(Peer):
    """Keras layers, traced once; (B, T, I) arrays, as Keras has no time-major layers.

    The LSTM and the RNN of Keras have one bias where PyTorch has two: its gradient is that of both.
    Tracing takes seconds a problem, therefore fewer repeats.
    """

    name = "keras"
    modes = ("inference", "training", "stream")
    stacks = True
    effort = 0.4

    @classmethod
    def available(cls) -> str | None:
        missing = [m for m in ("tensorflow", "keras") if importlib.util.find_spec(m) is None]
        if missing:
            return f"{' and '.join(missing)} not installed; pip install 'fastrnn[bench-all]'"
        return None

    @classmethod
    def version(cls) -> str:
        keras, tensorflow = _modules()
        return f"{keras.__version__} (tensorflow {tensorflow.__version__})"

    def prepare(
        self,
        problem: Problem,
        weights: dict[str, Array],
        x: Array,
        h_0: Array,
        c_0: Array | None,
        d_y: Array,
        threads: int,
    ) -> None:
        keras, tf = _modules()
        if tf.config.threading.get_intra_op_parallelism_threads() != threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        layer_type = {
            "lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN,
        }[problem.cell]  # fmt: skip
        self.problem = problem
        T = 1 if problem.mode == "stream" else problem.T
        self.layers = []
        for layer, width in enumerate(problem.input_sizes):
            for d, suffix in enumerate(("", "_reverse")[: problem.D]):
                built = layer_type(
                    problem.H, return_sequences=True, return_state=True, go_backwards=d == 1
                )
                built.build((problem.B, T, width))
                built.set_weights(_to_keras(problem, weights, f"_l{layer}{suffix}"))
                self.layers.append(built)
        rows = np.ascontiguousarray(x.swapaxes(0, 1))
        self.x = tf.constant(rows)
        self.states = [tf.constant(s) for s in (h_0, c_0) if s is not None]
        self.d_y = tf.constant(np.ascontiguousarray(d_y.swapaxes(0, 1)))
        if problem.mode == "stream":
            self.x = [tf.constant(rows[:, t : t + 1]) for t in range(problem.T)]
        first = self.x[0] if problem.mode == "stream" else self.x
        function = self._train if problem.mode == "training" else self._forward
        traced = tf.function(function, autograph=False)
        self.call: Any = traced.get_concrete_function(first, self.states)

    def _forward(self, x: Any, states: Any) -> Any:
        _, tf = _modules()
        finals = []
        for layer in range(self.problem.L):
            outputs = []
            for d in range(self.problem.D):
                scan = layer * self.problem.D + d
                y, *final = self.layers[scan](x, initial_state=[s[scan] for s in states])
                outputs.append(tf.reverse(y, [1]) if d else y)
                finals.append(final)
            x = tf.concat(outputs, -1) if self.problem.D == 2 else outputs[0]
        return x, [tf.stack(part) for part in zip(*finals, strict=True)]

    def _train(self, x: Any, states: Any) -> Any:
        _, tf = _modules()
        weights = [variable.value for layer in self.layers for variable in layer.trainable_weights]
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, finals = self._forward(x, states)
        return y, finals, tape.gradient(y, [x, *weights], output_gradients=self.d_y)

    def infer(self) -> None:
        self.outputs = self.call(self.x, self.states)

    train_step = infer

    def start_stream(self) -> None:
        self.carried = self.states

    def step(self, t: int) -> Array:
        y, self.carried = self.call(self.x[t], self.carried)
        result: Array = y.numpy()[:, 0]
        return result

    def results(self) -> dict[str, Array]:
        y, states, *gradients = self.outputs
        named = {"y": y.numpy().swapaxes(0, 1)}
        named |= {n: s.numpy() for n, s in zip(("h_n", "c_n"), states, strict=False)}
        if gradients:
            d_x, *d_weights = (gradient.numpy() for gradient in gradients[0])
            named["d_x"] = d_x.swapaxes(0, 1)
            scans = [(k, s) for k in range(self.problem.L) for s in ("", "_reverse")]
            scans = [(k, s) for k, s in scans if not s or self.problem.D == 2]
            for n, (layer, suffix) in enumerate(scans):
                named |= _from_keras(
                    self.problem, d_weights[3 * n : 3 * n + 3], f"_l{layer}{suffix}"
                )
        return named


def _modules() -> tuple[Any, Any]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    import tensorflow

    return keras, tensorflow


def _blocks(problem: Problem, array: Array) -> Array:
    parts = array.reshape(problem.gates, problem.H, -1)[list(_BLOCK_ORDER[problem.cell])]
    return parts.reshape(array.shape)


def _to_keras(problem: Problem, weights: dict[str, Array], suffix: str) -> list[Array]:
    """kernel (I, G*H), recurrent kernel (H, G*H), bias (G*H,), for the GRU (2, G*H)."""
    w_ih, w_hh, b_ih, b_hh = (
        _blocks(problem, weights[kind + suffix])
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    bias = np.stack([b_ih, b_hh]) if problem.cell == "gru" else b_ih + b_hh
    return [w_ih.T, w_hh.T, bias]


def _from_keras(problem: Problem, gradients: list[Array], suffix: str) -> dict[str, Array]:
    """PyTorch's gradients of one layer and direction; the block orders are their own inverses."""
    kernel, recurrent, bias = gradients
    b_ih, b_hh = bias if problem.cell == "gru" else (bias, bias)
    named = {"weight_ih": kernel.T, "weight_hh": recurrent.T, "bias_ih": b_ih, "bias_hh": b_hh}
    return {f"d_{kind}{suffix}": _blocks(problem, array) for kind, array in named.items()}
