"""torch.nn.LSTM, GRU and RNN on the CPU, used as their documentation shows."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.peers.base import Array, Peer
from bench.problems import Problem


class TorchCpu(Peer):
    """Eager PyTorch; inference under ``no_grad``, training with ``requires_grad`` on x.

    A stream goes through LSTMCell, GRUCell, RNNCell, which take a third of the layers' time for one
    step. Rows of different lengths go through ``pack_padded_sequence``, which is timed as well.
    """

    name = "torch"
    modes = ("inference", "training", "stream")
    stacks = True
    ragged = True
    dtypes = ("float32", "float64")

    @classmethod
    def available(cls) -> str | None:
        if importlib.util.find_spec("torch") is None:
            return "torch is not installed; pip install 'fastrnn[bench]'"
        return None

    @classmethod
    def version(cls) -> str:
        import torch

        return str(torch.__version__)

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
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(problem.mode != "stream")  # a context costs a tenth of a step
        layer_type: Any = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
        self.layer = layer_type[problem.cell](
            problem.I, problem.H, num_layers=problem.L, bidirectional=problem.D == 2,
            dtype=getattr(torch, problem.dtype),
        )  # fmt: skip
        self.layer.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
        self.problem = problem
        self.training = problem.mode == "training"
        self.layer.train(self.training)
        self.call: Any = self.layer
        self.x = torch.from_numpy(x).requires_grad_(self.training)
        h = torch.from_numpy(h_0)
        self.state: Any = h if c_0 is None else (h, torch.from_numpy(c_0))
        self.d_y = torch.from_numpy(d_y)

    def set_lengths(self, lengths: NDArray[np.int64]) -> None:
        import torch
        from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

        steps = torch.from_numpy(lengths)

        def call(x: Any, state: Any) -> Any:
            packed = pack_padded_sequence(x, steps, enforce_sorted=False)
            y, state_n = self.layer(packed, state)
            return pad_packed_sequence(y, total_length=self.problem.T)[0], state_n

        self.call = call

    def infer(self) -> None:
        import torch

        with torch.no_grad():
            self.y, self.state_n = self.call(self.x, self.state)

    def train_step(self) -> None:
        self.layer.zero_grad()
        self.x.grad = None
        self.y, self.state_n = self.call(self.x, self.state)
        self.y.backward(self.d_y)

    def start_stream(self) -> None:
        import torch

        p = self.problem
        cell_type: Any = {
            "lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "rnn": torch.nn.RNNCell,
        }[p.cell]  # fmt: skip
        self.cells, self.states = [], []
        for layer, width in enumerate(p.input_sizes):
            cell = cell_type(width, p.H)
            suffix = f"_l{layer}"
            weights = self.layer.state_dict()
            cell.load_state_dict(
                {n.removesuffix(suffix): w for n, w in weights.items() if n.endswith(suffix)}
            )
            h, c = self.state if p.cell == "lstm" else (self.state, None)
            self.cells.append(cell)
            self.states.append(h[layer] if c is None else (h[layer], c[layer]))
        self.x = list(self.x)

    def step(self, t: int) -> Array:
        y = self.x[t]
        for layer, cell in enumerate(self.cells):
            state = self.states[layer] = cell(y, self.states[layer])
            y = state[0] if isinstance(state, tuple) else state
        result: Array = y.numpy()
        return result

    def touch_weights(self) -> None:
        """nn.LSTM, GRU and RNN keep nothing between calls: they repack at every call anyway."""

    def results(self) -> dict[str, Array]:
        h_n, c_n = self.state_n if isinstance(self.state_n, tuple) else (self.state_n, None)
        tensors = {"y": self.y, "h_n": h_n}
        if c_n is not None:
            tensors["c_n"] = c_n
        if self.training:
            tensors["d_x"] = self.x.grad
            for name, parameter in self.layer.named_parameters():
                tensors[f"d_{name}"] = parameter.grad
        return {name: tensor.detach().numpy() for name, tensor in tensors.items()}
