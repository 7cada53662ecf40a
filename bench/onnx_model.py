"""ONNX models of the problems, for the peers that run ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.peers.base import Array
from bench.problems import Problem

# ONNX orders the row blocks i o f c and z r h; ours (PyTorch's) are i f g o and r z n.
_BLOCK_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}
_OPSET = 22  # the newest one in which LSTM, GRU and RNN were revised
_IR_VERSION = 10  # of the same ONNX release as that opset; a newer one is refused by older runtimes


def state_names(problem: Problem) -> list[str]:
    """The states of a cell, as the model's inputs and outputs are called after them."""
    return ["h", "c"] if problem.cell == "lstm" else ["h"]


def onnx_model(problem: Problem, weights: dict[str, Array], lengths: bool = False) -> bytes:
    """A serialized ONNX model: one recurrent node a layer, a transposition between layers.

    ``linear_before_reset=1`` is the reset-after GRU that PyTorch and fastrnn compute. A stream's
    model has one step.

    Inputs
        X (T, B, I), initial_h_l0, initial_c_l0, ... (D, B, H), with `lengths` also lengths (B,).
    Outputs
        Y (T, D, B, H) of the last layer, h_l0, c_l0, ... (D, B, H).
    """
    from onnx import TensorProto, helper, numpy_helper

    p = problem
    T = 1 if p.mode == "stream" else p.T
    states = state_names(p)
    nodes, initializers = [], []
    if p.L > 1:
        initializers.append(numpy_helper.from_array(np.array([0, 0, -1]), "stacked"))
    inputs = [_tensor("X", T, p.B, p.I)]
    outputs = [_tensor("Y", T, p.D, p.B, p.H)]
    if lengths:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, (p.B,)))
    attributes: dict[str, Any] = {"linear_before_reset": 1} if p.cell == "gru" else {}
    if p.D == 2:
        attributes["direction"] = "bidirectional"
        if p.cell == "rnn":
            attributes["activations"] = ["Tanh", "Tanh"]

    below = "X"
    for layer in range(p.L):
        for name, array in _node_weights(p, weights, layer).items():
            initializers.append(numpy_helper.from_array(array, f"{name}_l{layer}"))
        initial = [f"initial_{s}_l{layer}" for s in states]
        final = [f"{s}_l{layer}" for s in states]
        inputs += [_tensor(name, p.D, p.B, p.H) for name in initial]
        outputs += [_tensor(name, p.D, p.B, p.H) for name in final]
        y = "Y" if layer == p.L - 1 else f"Y_l{layer}"
        names = [below, *(f"{n}_l{layer}" for n in "WRB"), "lengths" if lengths else "", *initial]
        nodes.append(
            helper.make_node(p.cell.upper(), names, [y, *final], hidden_size=p.H, **attributes)
        )
        if y != "Y":  # (T, D, B, H) -> (T, B, D, H) -> (T, B, D*H)
            below = f"X_l{layer + 1}"
            nodes.append(helper.make_node("Transpose", [y], [f"{y}_rows"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"{y}_rows", "stacked"], [below]))

    graph = helper.make_graph(nodes, p.cell, inputs, outputs, initializers)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    return bytes(model.SerializeToString())


def layer_inputs(problem: Problem, h_0: Array, c_0: Array | None) -> dict[str, Array]:
    """The model's initial states from those of all layers, (L*D, B, H)."""
    feed = {}
    for letter, state in (("h", h_0), ("c", c_0)):
        for layer in range(problem.L if state is not None else 0):
            assert state is not None
            rows = slice(layer * problem.D, (layer + 1) * problem.D)
            feed[f"initial_{letter}_l{layer}"] = state[rows]
    return feed


def named_results(problem: Problem, outputs: list[Array]) -> dict[str, Array]:
    """Results under the benchmark's names from the model's outputs, in the model's order."""
    y, *states = outputs
    count = len(state_names(problem))
    named = {"y": y.swapaxes(1, 2).reshape(problem.T, problem.B, -1)}
    for k, name in enumerate(("h_n", "c_n")[:count]):
        named[name] = np.concatenate(states[k::count])
    return named


def _node_weights(problem: Problem, weights: dict[str, Array], layer: int) -> dict[str, Array]:
    """W (D, G*H, I), R (D, G*H, H) and B (D, 2*G*H) of one node."""
    suffixes = [f"_l{layer}", f"_l{layer}_reverse"][: problem.D]

    def blocks(name: str) -> Array:
        array = weights[name]
        parts = array.reshape(problem.gates, problem.H, -1)[list(_BLOCK_ORDER[problem.cell])]
        return parts.reshape(array.shape)

    return {
        "W": np.stack([blocks(f"weight_ih{s}") for s in suffixes]),
        "R": np.stack([blocks(f"weight_hh{s}") for s in suffixes]),
        "B": np.stack(
            [np.concatenate([blocks(f"bias_ih{s}"), blocks(f"bias_hh{s}")]) for s in suffixes]
        ),
    }


def _tensor(name: str, *shape: int) -> Any:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
