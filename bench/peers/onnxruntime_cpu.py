"""ONNX Runtime's LSTM, GRU and RNN operators: a model of one node, inference only."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from bench.peers.base import Array, Peer
from bench.problems import Problem

# ONNX orders the row blocks i o f c and z r h; ours (PyTorch's) are i f g o and r z n.
_BLOCK_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}
_OPSET = 22  # the newest one in which LSTM, GRU and RNN were revised
_IR_VERSION = 10  # of the same ONNX release as that opset; a newer one is refused by older runtimes


class OnnxRuntimeCpu(Peer):
    """One session per problem, weights as initializers, states as inputs, ``session.run`` timed."""

    name = "onnxruntime"
    modes = ("inference",)

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

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            one_node_model(problem, weights), options, providers=["CPUExecutionProvider"]
        )
        self.feed = {"X": x, "initial_h": h_0}
        if c_0 is not None:
            self.feed["initial_c"] = c_0

    def infer(self) -> None:
        self.outputs = self.session.run(None, self.feed)

    def results(self) -> dict[str, Array]:
        named = dict(zip(("y", "h_n", "c_n"), self.outputs, strict=False))
        named["y"] = named["y"][:, 0]  # (T, directions, B, H) -> (T, B, H)
        return named


def one_node_model(problem: Problem, weights: dict[str, Array]) -> bytes:
    """A serialized ONNX model that holds one recurrent node with the given weights.

    ``linear_before_reset=1`` is the reset-after GRU that PyTorch and fastrnn compute.
    """
    from onnx import TensorProto, helper, numpy_helper

    B, T, I, H = problem.B, problem.T, problem.I, problem.H

    def blocks(array: Array) -> Array:
        parts = array.reshape(problem.gates, H, -1)[list(_BLOCK_ORDER[problem.cell])]
        return parts.reshape(array.shape)

    bias = np.concatenate([blocks(weights["bias_ih_l0"]), blocks(weights["bias_hh_l0"])])
    initializers = {
        "W": blocks(weights["weight_ih_l0"])[None],  # (directions, G*H, I)
        "R": blocks(weights["weight_hh_l0"])[None],  # (directions, G*H, H)
        "B": bias[None],  # (directions, 2*G*H)
    }
    states = ["h", "c"] if problem.cell == "lstm" else ["h"]
    attributes: dict[str, Any] = {"linear_before_reset": 1} if problem.cell == "gru" else {}
    node = helper.make_node(
        problem.cell.upper(),
        ["X", "W", "R", "B", "", *(f"initial_{s}" for s in states)],  # "": no sequence_lens
        ["Y", *(f"Y_{s}" for s in states)],
        hidden_size=H,
        **attributes,
    )

    def tensor(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [node],
        problem.cell,
        [tensor("X", T, B, I), *(tensor(f"initial_{s}", 1, B, H) for s in states)],
        [tensor("Y", T, 1, B, H), *(tensor(f"Y_{s}", 1, B, H) for s in states)],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    return bytes(model.SerializeToString())
