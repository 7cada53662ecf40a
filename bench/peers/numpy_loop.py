"""The formulas of ``fastrnn.reference`` in float32: what a plain NumPy time loop costs."""

from __future__ import annotations

import numpy as np

from bench.check import reference_results
from bench.peers.base import Array, Peer
from bench.problems import REFERENCE_CELLS, Inputs, Problem


class NumpyLoop(Peer):
    """One ``step_forward`` per step in inference; the reference's scan and BPTT in training."""

    name = "numpy"

    @classmethod
    def available(cls) -> str | None:
        return None

    @classmethod
    def version(cls) -> str:
        return np.__version__

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
        from fastrnn import reference

        self.problem = problem
        self.cell = reference.CELLS[REFERENCE_CELLS[problem.cell]]
        self.inputs = Inputs(weights, x, h_0, c_0, d_y)

    def infer(self) -> None:
        data = self.inputs
        weights = list(data.weights.values())
        state = [s[0] for s in (data.h_0, data.c_0) if s is not None]
        y = np.empty((self.problem.T, self.problem.B, self.problem.H), np.float32)
        for t in range(self.problem.T):
            state, _ = self.cell.step_forward(data.x[t], state, weights)
            y[t] = state[0]
        names = ("h_n", "c_n")
        self.computed = {"y": y} | {n: s[None] for n, s in zip(names, state, strict=False)}

    def train_step(self) -> None:
        self.computed = reference_results(self.problem, self.inputs, np.float32)

    def results(self) -> dict[str, Array]:
        return self.computed
