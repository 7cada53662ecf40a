"""JAX: ``lax.scan`` over the formulas, jitted; the input product of all steps comes first."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from bench.peers.base import Array, Peer
from bench.problems import Problem


class JaxCpu(Peer):
    """One jitted function per problem, compiled before it is timed; every call waits for its end.

    XLA takes its number of threads from the CPUs that the process may use.
    """

    name = "jax"
    modes = ("inference", "training", "stream")
    stacks = True
    effort = 0.5

    @classmethod
    def available(cls) -> str | None:
        if importlib.util.find_spec("jax") is None:
            return "jax is not installed; pip install 'fastrnn[bench-all]'"
        return None

    @classmethod
    def version(cls) -> str:
        import jax

        return str(jax.__version__)

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
        import jax

        def forward(params: Any, x: Any, states: Any) -> Any:
            return _stack(problem, params, x, states)

        def train(params: Any, x: Any, states: Any, d_y: Any) -> Any:
            y, backward, finals = jax.vjp(
                lambda p, x: forward(p, x, states), params, x, has_aux=True
            )
            return y, finals, *backward(d_y)

        self.problem = problem
        states = [h_0] if c_0 is None else [h_0, c_0]
        self.arguments: Any = jax.device_put((weights, x, states))
        if problem.mode == "training":
            self.arguments = (*self.arguments, jax.device_put(d_y))
            self.compiled: Any = jax.jit(train).lower(*self.arguments).compile()
        elif problem.mode == "inference":
            self.compiled = jax.jit(forward).lower(*self.arguments).compile()
        else:
            self.compiled = jax.jit(forward).lower(weights, x[:1], states).compile()
            self.x = x

    def infer(self) -> None:
        import jax

        self.outputs = jax.block_until_ready(self.compiled(*self.arguments))

    train_step = infer

    def start_stream(self) -> None:
        self.states = self.arguments[2]

    def step(self, t: int) -> Array:
        y, self.states = self.compiled(self.arguments[0], self.x[t : t + 1], self.states)
        return np.asarray(y)[0]

    def results(self) -> dict[str, Array]:
        y, states, *gradients = self.outputs
        named = {"y": y} | dict(zip(("h_n", "c_n"), states, strict=False))
        if gradients:
            d_weights, named["d_x"] = gradients
            named |= {f"d_{name}": gradient for name, gradient in d_weights.items()}
        return {name: np.asarray(array) for name, array in named.items()}


def _stack(problem: Problem, params: Any, x: Any, states: Any) -> Any:
    """All layers and directions: y (T, B, D*H) and the final states, each (L*D, B, H)."""
    import jax.numpy as jnp

    finals = []
    for layer in range(problem.L):
        outputs = []
        for d, suffix in enumerate(("", "_reverse")[: problem.D]):
            weights = [
                params[f"{kind}_l{layer}{suffix}"]
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            initial = [s[layer * problem.D + d] for s in states]
            y, final = _scan(problem.cell, weights, x, initial, reverse=d == 1)
            outputs.append(y)
            finals.append(final)
        x = jnp.concatenate(outputs, -1) if problem.D == 2 else outputs[0]
    return x, [jnp.stack(part) for part in zip(*finals, strict=True)]


def _scan(cell: str, weights: Any, x: Any, initial: Any, reverse: bool) -> Any:
    """One layer in one direction: y (T, B, H) and the final states."""
    import jax
    import jax.numpy as jnp

    weight_ih, weight_hh, bias_ih, bias_hh = weights
    from_x = x @ weight_ih.T + (bias_ih if cell == "gru" else bias_ih + bias_hh)

    def lstm(state: Any, from_x: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(from_x + h @ weight_hh.T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return [h, c], h

    def gru(state: Any, from_x: Any) -> Any:
        (h,) = state
        x_r, x_z, x_n = jnp.split(from_x, 3, -1)
        h_r, h_z, h_n = jnp.split(h @ weight_hh.T + bias_hh, 3, -1)
        z = jax.nn.sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + jax.nn.sigmoid(x_r + h_r) * h_n)
        h = (1 - z) * n + z * h
        return [h], h

    def rnn(state: Any, from_x: Any) -> Any:
        h = jnp.tanh(from_x + state[0] @ weight_hh.T)
        return [h], h

    step = {"lstm": lstm, "gru": gru, "rnn": rnn}[cell]
    final, y = jax.lax.scan(step, initial, from_x, reverse=reverse)
    return y, final
