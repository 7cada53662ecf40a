"""fastrnn's own modules on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.peers.base import Array, Peer, toggle_first_element
from bench.problems import Problem


class FastrnnCpu(Peer):
    """``layer(x, state)``, frozen, for inference; ``forward`` and ``backward`` for training.

    A stream goes through ``fastrnn.Stepper``, or, in a version without it, through the layer with
    one step a call; ``plan`` says which.
    """

    name = "fastrnn"
    modes = ("inference", "training", "stream")
    stacks = True
    ragged = True
    dtypes = ("float32", "float64")

    @classmethod
    def available(cls) -> str | None:
        try:
            import fastrnn

            fastrnn.LSTM(1, 1)
        except (ImportError, AttributeError) as error:
            return f"fastrnn's compiled module cannot be used ({error}); pip install . first"
        return None

    @classmethod
    def version(cls) -> str:
        import fastrnn

        facts = fastrnn.info()
        return f"{facts['version']} ({facts['isa']}, {facts['compiler']})"

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
        import fastrnn

        fastrnn.set_num_threads(threads)
        layer_type = {"lstm": fastrnn.LSTM, "gru": fastrnn.GRU, "rnn": fastrnn.RNN}[problem.cell]
        self.layer = layer_type(
            problem.I, problem.H, num_layers=problem.L, bidirectional=problem.D == 2,
            dtype=problem.dtype,
        )  # fmt: skip
        self.layer.load_state_dict(weights)
        if problem.mode == "inference" and hasattr(self.layer, "freeze"):
            self.layer.freeze()  # as the peers that compile a model for inference do
        self.mode = problem.mode
        self.x, self.d_y = x, d_y
        self.state = h_0 if c_0 is None else (h_0, c_0)
        self.lengths: NDArray[np.int64] | None = None
        self.stepper: Any = None

    def set_lengths(self, lengths: NDArray[np.int64]) -> None:
        self.lengths = lengths

    def infer(self) -> None:
        self.y, self.state_n = self.layer(self.x, self.state, self.lengths)

    def train_step(self) -> None:
        self.y, self.state_n, tape = self.layer.forward(self.x, self.state, self.lengths)
        self.d_x, _, self.gradients = self.layer.backward(tape, self.d_y)

    def start_stream(self) -> None:
        import fastrnn

        _, B, _ = self.x.shape
        if hasattr(fastrnn, "Stepper"):
            self.stepper = fastrnn.Stepper(self.layer, streams=B)  # its state starts at zero
            self.step = self._step_with_stepper  # type: ignore[method-assign]
        else:
            self.state_n = self.state
        self.y = np.empty((B, self.layer.hidden_size), np.float32)

    def step(self, t: int) -> Array:
        y, self.state_n = self.layer(self.x[t : t + 1], self.state_n)
        return y[0]

    def _step_with_stepper(self, t: int) -> Array:
        y: Array = self.stepper.step(self.x[t], out=self.y)
        return y

    def touch_weights(self) -> None:
        for parameter in self.layer.parameters().values():
            toggle_first_element(parameter)

    def results(self) -> dict[str, Array]:
        h_n, c_n = self.state_n if isinstance(self.state_n, tuple) else (self.state_n, None)
        named = {"y": self.y, "h_n": h_n}
        if c_n is not None:
            named["c_n"] = c_n
        if self.mode == "training":
            named["d_x"] = self.d_x
            named |= {f"d_{name}": gradient for name, gradient in self.gradients.items()}
        return named

    def plan(self) -> dict[str, Any] | None:
        import fastrnn

        if self.mode == "stream":
            return {"api": "Stepper.step" if self.stepper else "layer, one step a call: no Stepper"}
        return dict(fastrnn.explain(self.layer, self.x, training=self.mode == "training"))
