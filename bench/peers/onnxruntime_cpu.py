"""ONNX Runtime's LSTM, GRU and RNN operators: a model of one node a layer, inference only."""

from __future__ import annotations

import importlib.util

import numpy as np
from numpy.typing import NDArray

from bench.onnx_model import layer_inputs, named_results, onnx_model
from bench.peers.base import Array, Peer
from bench.problems import Problem


class OnnxRuntimeCpu(Peer):
    """One session per problem, weights as initializers, states as inputs, ``session.run`` timed."""

    name = "onnxruntime"
    modes = ("inference", "stream")
    stacks = True
    ragged = True

    @classmethod
    def available(cls) -> str | None:
        missing = [m for m in ("onnxruntime", "onnx") if importlib.util.find_spec(m) is None]
        if missing:
            return f"{' and '.join(missing)} not installed; pip install 'fastrnn[bench]'"
        return None

    @classmethod
    def version(cls) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

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
        import onnxruntime

        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.problem, self.weights, self.x = problem, weights, x
        self.states = layer_inputs(problem, h_0, c_0)
        self.feed = {"X": x} | self.states
        self._load(lengths=False)

    def _load(self, lengths: bool) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(
            onnx_model(self.problem, self.weights, lengths),
            self.options,
            providers=["CPUExecutionProvider"],
        )

    def set_lengths(self, lengths: NDArray[np.int64]) -> None:
        self._load(lengths=True)
        self.feed["lengths"] = lengths.astype(np.int32)

    def infer(self) -> None:
        self.outputs = self.session.run(None, self.feed)

    def start_stream(self) -> None:
        outputs = [output.name for output in self.session.get_outputs()]
        self.carried = [f"initial_{name}" for name in outputs[1:]]
        self.feed = dict(self.states)

    def step(self, t: int) -> Array:
        feed = self.feed
        feed["X"] = self.x[t : t + 1]
        y, *states = self.session.run(None, feed)
        feed.update(zip(self.carried, states, strict=True))
        result: Array = y[0, 0]
        return result

    def results(self) -> dict[str, Array]:
        return named_results(self.problem, self.outputs)
