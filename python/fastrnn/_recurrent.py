"""What RNN, GRU and LSTM share, which is everything but the cell and the form of the state."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _scan
from ._check import numbers, parameters
from ._parameters import Parameterized, Rng
from ._problem import Problem
from ._scan import Tape

Array = npt.NDArray[Any]


class Recurrent(Parameterized):
    """Base of RNN, GRU and LSTM. Not public: the three classes are."""

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        dtype: npt.DTypeLike,
        rng: Rng,
    ) -> None:
        call = type(self).__name__
        problem = Problem(
            cell,
            numbers.integer(call, "input_size", input_size, 1),
            numbers.integer(call, "hidden_size", hidden_size, 1),
            numbers.integer(call, "num_layers", num_layers, 1, numbers.MAX_LAYERS),
            numbers.flag(call, "bidirectional", bidirectional),
            numbers.flag(call, "bias", bias),
            numbers.flag(call, "batch_first", batch_first),
            numbers.dropout(call, dropout),
            numbers.dtype(call, dtype),
        )
        parameters.room(call, problem)
        if problem.dropout > 0 and problem.num_layers == 1:
            warnings.warn(
                f"{call}: dropout is {problem.dropout} but num_layers is 1; dropout acts between "
                f"layers, so it does nothing here",
                UserWarning,
                stacklevel=3,
            )
        self._create(problem, problem.parameter_shapes(), rng)

    def _forward(
        self,
        call: str,
        x: Any,
        state: Any,
        lengths: Any,
        training: bool,
        recompute: bool | int = False,
    ) -> tuple[Array, Any, Tape | None]:
        recompute = numbers.recompute(call, recompute)
        return _scan.forward(
            call,
            self._problem,
            lambda: self._pack(call),
            lambda machine: self._on_device(call, machine),
            x,
            state,
            lengths,
            training=training,
            recompute=recompute,
            draw_seed=lambda: int(self._rng.integers(2**64, dtype=np.uint64)),
            names=tuple(self._shapes),
            module=self,
        )

    def __call__(
        self, x: Array, state: Any = None, lengths: npt.ArrayLike | None = None
    ) -> tuple[Array, Any]:
        """Inference: the output and the final state, nothing kept, no dropout.

        Parameters
        ----------
        x : (T, B, I), dtype of the module
            Input; (B, T, I) if batch_first; (T, I) for one sequence without a batch axis.
        state : (L*D, B, H), optional
            Initial state: h_0, for LSTM the tuple (h_0, c_0); (L*D, H) for x without batch axis;
            None is zeros. Never batch-first.
        lengths : (B,) integers in [0, T], optional
            Steps of each row, in any order. Past its end a row's output is 0; its final state is
            the one at its end, and the reverse direction starts there.

        Returns
        -------
        y : (T, B, D*H), dtype of the module
            Hidden states of the last layer, in the layout of x.
        state : like the initial state
            Final state: h_n, for LSTM the tuple (h_n, c_n).

        Raises
        ------
        ValueError
            A shape or value does not fit.
        TypeError
            An argument has the wrong type or dtype.
        """
        y, state, _ = self._forward(type(self).__name__, x, state, lengths, False)
        return y, state

    def forward(
        self,
        x: Array,
        state: Any = None,
        lengths: npt.ArrayLike | None = None,
        *,
        recompute: bool | int = False,
    ) -> tuple[Array, Any, Tape]:
        """Training: the output, the final state, and the tape that `backward` needs.

        Arguments and errors are those of the call, and `recompute`. Dropout between layers is on;
        each call draws the key of its masks from the module's generator (`rng_state`).

        Parameters
        ----------
        recompute : bool or int
            Trade time for memory: keep states at the borders of segments of time alone, and the
            inputs of the layers above the first; `backward` runs each segment forward again. True
            lets the engine pick the segments with which memory is least, about sqrt(T) steps; an
            int is their length in steps, rounded up to whole pieces of the weight gradients' sums.
            No result changes by a bit. `fastrnn.explain` shows what is kept.

        Returns
        -------
        y : (T, B, D*H), dtype of the module
        state : like the initial state
        tape : Tape
            Holds x by reference: do not change x in place before `backward`. The parameters may
            be changed.
        """
        call = f"{type(self).__name__}.forward"
        y, state, tape = self._forward(call, x, state, lengths, True, recompute)
        assert tape is not None
        return y, state, tape

    def backward(
        self, tape: Tape, d_y: Array | None = None, d_state: Any = None
    ) -> tuple[Array, Any, dict[str, Array]]:
        """Back-propagation through time for the call of `forward` that returned the tape.

        Parameters
        ----------
        tape : Tape
            From `forward` of this module. It is not used up.
        d_y : shape and dtype of y, optional
            Gradient of the loss by y; None is zero.
        d_state : like the state, optional
            Gradient by the final state: d_h_n, for LSTM the tuple (d_h_n, d_c_n); None is zero.

        Returns
        -------
        d_x : shape of x
        d_state_0 : like the state
            Gradient by the initial state, given or zeros.
        grads : dict of name -> array
            Gradient of each parameter, in its shape.

        Raises
        ------
        ValueError
            The tape is of another module, or a gradient has the wrong shape.
        TypeError
            `tape` is no tape, or a gradient has the wrong type or dtype.
        """
        call = f"{type(self).__name__}.backward"
        cells = (self._problem.cell,)
        d_x, d_state_0, grads = _scan.backward(call, tape, d_y, d_state, cells=cells, module=self)
        assert isinstance(grads, dict)
        return d_x, d_state_0, grads

    def rng_state(self) -> dict[str, int]:
        """State of the generator that dropout draws from; for checkpoints."""
        inner = self._rng.bit_generator.state["state"]
        return {name: int(inner[name]) for name in ("state", "inc")}

    def set_rng_state(self, state: Mapping[str, int]) -> None:
        """Take back what `rng_state` gave; the next masks are then the same, bit for bit."""
        call = f"{type(self).__name__}.set_rng_state"
        found = dict(parameters.mapping(call, "state", state, "int; rng_state() returns one"))
        parameters.names(call, "state", found, ("state", "inc"), "pass what rng_state() returned")
        own = dict(self._rng.bit_generator.state)
        own["state"] = {
            name: numbers.integer(call, f"state[{name!r}]", found[name], 0, 2**128 - 1)
            for name in ("state", "inc")
        }
        self._rng.bit_generator.state = own

    @property
    def num_layers(self) -> int:
        """L."""
        return self._problem.num_layers

    @property
    def bidirectional(self) -> bool:
        """Whether D is 2."""
        return self._problem.bidirectional

    @property
    def batch_first(self) -> bool:
        """Whether x and y are (B, T, .)."""
        return self._problem.batch_first

    @property
    def dropout(self) -> float:
        """Probability of zeroing an output of every layer but the last, in training."""
        return self._problem.dropout

    @dropout.setter
    def dropout(self, value: float) -> None:
        checked = numbers.dropout(type(self).__name__, value)
        self._problem = dataclasses.replace(self._problem, dropout=checked)

    def _options(self) -> dict[str, Any]:
        p = self._problem
        given = {"num_layers": p.num_layers} if p.num_layers != 1 else {}
        flags = ("batch_first", "dropout", "bidirectional")
        given |= {} if p.bias else {"bias": False}
        given |= {name: getattr(p, name) for name in flags if getattr(p, name)}
        return given | super()._options()
