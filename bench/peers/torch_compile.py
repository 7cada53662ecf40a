"""torch.compile on the layers of the torch peer."""

from __future__ import annotations

from typing import Any

from bench.peers.base import Array
from bench.peers.torch_cpu import TorchCpu
from bench.problems import Problem

_MOST_STEPS = 8


class TorchCompile(TorchCpu):
    """``torch.compile(layer)`` with ``allow_rnn``, without which it would run the layers as before.

    LSTM inference in one direction becomes one operator with weights packed once. Everything else
    is unrolled over T, and compiling takes one to two seconds a step; longer ones are left out.
    """

    name = "torch.compile"
    modes = ("inference", "training")
    ragged = False
    effort = 0.5

    @classmethod
    def available(cls) -> str | None:
        import shutil

        if reason := super().available():
            return reason
        if not any(map(shutil.which, ("g++", "clang++", "c++"))):
            return "torch.compile needs a C++ compiler, found none"
        return None

    @classmethod
    def declines(cls, problem: Problem) -> str | None:
        unrolled = (problem.cell, problem.mode, problem.D) != ("lstm", "inference", 1)
        if unrolled and problem.T > _MOST_STEPS:
            return f"unrolls all but LSTM inference, for minutes beyond {_MOST_STEPS} steps"
        return None

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

        super().prepare(problem, weights, x, h_0, c_0, d_y, threads)
        torch._dynamo.reset()
        torch._dynamo.config.allow_rnn = True
        torch._inductor.config.freezing = not self.training  # packs the weights once
        torch._inductor.config.compile_threads = 1  # no pool of compiling processes
        self.call = torch.compile(self.layer)
        self.train_step() if self.training else self.infer()

    def plan(self) -> dict[str, Any] | None:
        from torch._dynamo.utils import counters

        breaks = sum(counters["graph_break"].values())
        return {"graphs": counters["stats"]["unique_graphs"], "graph_breaks": breaks}
