"""Flax: ``linen.RNN`` over OptimizedLSTMCell, GRUCell and SimpleCell, jitted."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from bench.peers.base import Array, Peer
from bench.problems import Problem

_GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": "-"}


class FlaxCpu(Peer):
    """Flax's layers as its documentation shows them; otherwise as the jax peer.

    Where two biases of PyTorch's add up, Flax has one: its gradient is that of both.
    """

    name = "flax"
    stacks = True
    effort = 0.5

    @classmethod
    def available(cls) -> str | None:
        missing = [m for m in ("jax", "flax") if importlib.util.find_spec(m) is None]
        if missing:
            return f"{' and '.join(missing)} not installed; pip install 'fastrnn[bench-all]'"
        return None

    @classmethod
    def version(cls) -> str:
        import flax
        import jax

        return f"{flax.__version__} (jax {jax.__version__})"

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

        self.problem = problem
        modules = [_module(problem, scan) for scan in range(problem.L * problem.D)]
        params = [_to_flax(problem, weights, scan) for scan in range(problem.L * problem.D)]

        def forward(params: Any, x: Any, states: Any) -> Any:
            return _stack(problem, modules, params, x, states)

        def train(params: Any, x: Any, states: Any, d_y: Any) -> Any:
            y, backward, finals = jax.vjp(
                lambda p, x: forward(p, x, states), params, x, has_aux=True
            )
            return y, finals, *backward(d_y)

        states = h_0 if c_0 is None else (c_0, h_0)  # Flax's order
        self.arguments: Any = jax.device_put((params, x, states))
        if problem.mode == "training":
            self.arguments = (*self.arguments, jax.device_put(d_y))
        function = train if problem.mode == "training" else forward
        self.compiled: Any = jax.jit(function).lower(*self.arguments).compile()

    def infer(self) -> None:
        import jax

        self.outputs = jax.block_until_ready(self.compiled(*self.arguments))

    train_step = infer

    def results(self) -> dict[str, Array]:
        y, finals, *gradients = self.outputs
        states = finals[::-1] if isinstance(finals, tuple) else (finals,)
        named = {"y": y} | dict(zip(("h_n", "c_n"), states, strict=False))
        if gradients:
            d_params, named["d_x"] = gradients
            for scan, d_param in enumerate(d_params):
                named |= _from_flax(self.problem, d_param, scan)
        return {name: np.asarray(array) for name, array in named.items()}


def _suffix(problem: Problem, scan: int) -> str:
    return f"_l{scan // problem.D}" + ("_reverse" if scan % problem.D else "")


def _module(problem: Problem, scan: int) -> Any:
    from flax import linen

    cell = {
        "lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell, "rnn": linen.SimpleCell,
    }[problem.cell](problem.H)  # fmt: skip
    reverse = scan % problem.D == 1
    return linen.RNN(cell, time_major=True, return_carry=True, reverse=reverse, keep_order=True)


def _stack(problem: Problem, modules: Any, params: Any, x: Any, states: Any) -> Any:
    import jax
    import jax.numpy as jnp

    finals = []
    for layer in range(problem.L):
        outputs = []
        for scan in range(layer * problem.D, (layer + 1) * problem.D):
            initial = jax.tree.map(lambda s, scan=scan: s[scan], states)
            final, y = modules[scan].apply(
                {"params": {"cell": params[scan]}}, x, initial_carry=initial
            )
            outputs.append(y)
            finals.append(final)
        x = jnp.concatenate(outputs, -1) if problem.D == 2 else outputs[0]
    return x, jax.tree.map(lambda *parts: jnp.stack(parts), *finals)


def _to_flax(problem: Problem, weights: dict[str, Array], scan: int) -> dict[str, Any]:
    """Flax's parameters of one cell: a dense layer per gate, kernels (I, H)."""
    suffix, gates = _suffix(problem, scan), _GATES[problem.cell]
    w_ih, w_hh, b_ih, b_hh = (
        np.split(weights[kind + suffix], len(gates))
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    params: dict[str, Any] = {}
    for k, gate in enumerate(gates):
        i, h = (f"i{gate}", f"h{gate}") if gate != "-" else ("i", "h")
        params[i], params[h] = {"kernel": w_ih[k].T}, {"kernel": w_hh[k].T}
        if gate == "n":  # the reset gate stands between the two biases
            params[i]["bias"], params[h]["bias"] = b_ih[k], b_hh[k]
        else:
            params[h if problem.cell == "lstm" else i]["bias"] = b_ih[k] + b_hh[k]
    return params


def _from_flax(problem: Problem, gradient: Any, scan: int) -> dict[str, Any]:
    """PyTorch's gradients of one cell from Flax's."""
    gates = _GATES[problem.cell]
    names = [(f"i{g}", f"h{g}") if g != "-" else ("i", "h") for g in gates]

    def bias(own: str, other: str) -> Any:
        return gradient[own].get("bias", gradient[other].get("bias"))

    blocks = {
        "weight_ih": [gradient[i]["kernel"].T for i, _ in names],
        "weight_hh": [gradient[h]["kernel"].T for _, h in names],
        "bias_ih": [bias(i, h) for i, h in names],
        "bias_hh": [bias(h, i) for i, h in names],
    }
    suffix = _suffix(problem, scan)
    return {f"d_{kind}{suffix}": np.concatenate(parts) for kind, parts in blocks.items()}
