"""The formulas of ``fastrnn.reference`` in float32: what a plain NumPy time loop costs."""

from __future__ import annotations

import numpy as np

from bench.check import reference_results
from bench.peers.base import Array, Peer
from bench.problems import REFERENCE_CELLS, Inputs, Problem


class NumpyLoop(Peer):
    """One ``step_forward`` per step in inference; the reference's scan and BPTT in training."""

    name = "numpy"
    modes = ("inference", "training", "stream")
    stacks = True
    effort = 0.5

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

        self.problem, self.x = problem, x
        self.cell = reference.CELLS[REFERENCE_CELLS[problem.cell]]
        self.inputs = Inputs(weights, x, h_0, c_0, d_y)
        flat = list(weights.values())
        self.scans = [flat[i : i + 4] for i in range(0, len(flat), 4)]  # by layer, by direction

    def infer(self) -> None:
        p, y = self.problem, self.inputs.x
        finals = []
        for layer in range(p.L):
            below, y = y, np.empty((p.T, p.B, p.D * p.H), np.float32)
            for d in range(p.D):
                scan = layer * p.D + d
                state = self._initial(scan)
                for t in range(p.T)[:: -1 if d else 1]:
                    state, _ = self.cell.step_forward(below[t], state, self.scans[scan])
                    y[t, :, d * p.H : (d + 1) * p.H] = state[0]
                finals.append(state)
        states = (np.stack(part) for part in zip(*finals, strict=True))
        self.computed = {"y": y} | dict(zip(("h_n", "c_n"), states, strict=False))

    def _initial(self, scan: int) -> list[Array]:
        return [s[scan] for s in (self.inputs.h_0, self.inputs.c_0) if s is not None]

    def train_step(self) -> None:
        self.computed = reference_results(self.problem, self.inputs, np.float32)

    def start_stream(self) -> None:
        self.states = [self._initial(layer) for layer in range(self.problem.L)]

    def step(self, t: int) -> Array:
        y = self.inputs.x[t]
        for layer, weights in enumerate(self.scans):
            self.states[layer], _ = self.cell.step_forward(y, self.states[layer], weights)
            y = self.states[layer][0]
        return y

    def results(self) -> dict[str, Array]:
        return self.computed
