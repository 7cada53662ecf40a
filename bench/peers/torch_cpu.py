"""torch.nn.LSTM, GRU and RNN on the CPU, used as their documentation shows."""

from __future__ import annotations

import importlib.util
from typing import Any

from bench.peers.base import Array, Peer
from bench.problems import Problem


class TorchCpu(Peer):
    """Eager PyTorch; inference under ``no_grad``, training with ``requires_grad`` on x."""

    name = "torch"

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
        layer_type: Any = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
        self.layer = layer_type[problem.cell](problem.I, problem.H)
        self.layer.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
        self.training = problem.mode == "training"
        self.layer.train(self.training)
        self.x = torch.from_numpy(x).requires_grad_(self.training)
        h = torch.from_numpy(h_0)
        self.state: Any = h if c_0 is None else (h, torch.from_numpy(c_0))
        self.d_y = torch.from_numpy(d_y)

    def infer(self) -> None:
        import torch

        with torch.no_grad():
            self.y, self.state_n = self.layer(self.x, self.state)

    def train_step(self) -> None:
        self.layer.zero_grad()
        self.x.grad = None
        self.y, self.state_n = self.layer(self.x, self.state)
        self.y.backward(self.d_y)

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
