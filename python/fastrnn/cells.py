"""LSTMCell, GRUCell and RNNCell: one step, with the arguments and parameter names of torch.nn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import _scan
from ._check import arity, numbers, parameters
from ._parameters import Parameterized, Rng
from ._problem import Problem
from ._scan import Tape

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]

Array = npt.NDArray[Any]


class Cell(Parameterized):
    """Base of the three cells: a layer that runs one step. Not public: the three classes are."""

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: Any,
        dtype: npt.DTypeLike,
        rng: Rng,
    ) -> None:
        call = type(self).__name__
        numbers.unsupported(call, device=(device, (None, "cpu"), "cells run on the CPU"))
        problem = Problem(
            cell,
            numbers.integer(call, "input_size", input_size, 1),
            numbers.integer(call, "hidden_size", hidden_size, 1),
            num_layers=1,
            bidirectional=False,
            bias=numbers.flag(call, "bias", bias),
            batch_first=False,
            dropout=0.0,
            dtype=numbers.dtype(call, dtype),
        )
        parameters.room(call, problem)
        shapes = problem.parameter_shapes()
        self._create(problem, {n.removesuffix("_l0"): s for n, s in shapes.items()}, rng)

    def _forward(self, call: str, x: Any, state: Any, training: bool) -> tuple[Any, Tape | None]:
        _, state, tape = _scan.forward(
            call,
            self._problem,
            lambda: self._pack(call),
            lambda machine: self._on_device(call, machine),
            x,
            state,
            None,
            training=training,
            names=tuple(self._shapes),
            module=self,
            one_step=True,
        )
        return state, tape

    def __call__(self, x: Array, state: Any = None) -> Any:
        """Inference: the next state.

        Parameters
        ----------
        x : (B, I) or (I,), dtype of the module
            Input of one step.
        state : (B, H) or (H,), optional
            State before the step: h, for LSTMCell the tuple (h, c); None is zeros.

        Returns
        -------
        state : like the given state
            State after the step: h, for LSTMCell the tuple (h, c).

        Raises
        ------
        ValueError
            A shape does not fit.
        TypeError
            An argument has the wrong type or dtype.
        """
        return self._forward(type(self).__name__, x, state, False)[0]

    def forward(self, x: Array, state: Any = None) -> tuple[Any, Tape]:
        """Training: the next state, and the tape that `backward` needs.

        Arguments and errors are those of the call.
        """
        state, tape = self._forward(f"{type(self).__name__}.forward", x, state, True)
        assert tape is not None
        return state, tape

    def backward(self, tape: Tape, d_state: Any) -> tuple[Array, Any, dict[str, Array]]:
        """Gradients of one step.

        Parameters
        ----------
        tape : Tape
            From `forward` of this module. It is not used up.
        d_state : like the state
            Gradient of the loss by the state after the step: d_h, for LSTMCell the tuple
            (d_h, d_c); None, for all or for one, is zero.

        Returns
        -------
        d_x : shape of x
        d_state_0 : like the state
            Gradient by the state before the step.
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
        d_x, before, grads = _scan.backward(call, tape, None, d_state, cells=cells, module=self)
        assert isinstance(grads, dict)
        return d_x, before, grads


@arity.own_methods
class LSTMCell(Cell):
    """One step of an LSTM, as torch.nn.LSTMCell; the formulas are those of `fastrnn.LSTM`.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    bias : bool
        Whether there are bias_ih and bias_hh.
    device : None or "cpu"
        For calls written for torch.
    dtype : float32 or float64
        Of parameters, inputs and states.
    rng : int, numpy.random.Generator, or what else `numpy.random.default_rng` takes
        Source of the initial parameters, U(-1/sqrt(H), 1/sqrt(H)).

    Attributes
    ----------
    weight_ih : (4*H, I)
    weight_hh : (4*H, H)
    bias_ih, bias_hh : (4*H,)
        Rows in the order i, f, g, o.

    Examples
    --------
    >>> import numpy as np, fastrnn
    >>> cell = fastrnn.LSTMCell(3, 8, rng=0)
    >>> h, c = cell(np.ones((2, 3), np.float32))
    >>> h, c = cell(np.ones((2, 3), np.float32), (h, c))
    >>> h.shape, c.shape
    ((2, 8), (2, 8))
    >>> (h, c), tape = cell.forward(np.ones(3, np.float32))
    >>> d_x, (d_h_0, d_c_0), grads = cell.backward(tape, (np.ones_like(h), None))
    >>> d_x.shape, d_h_0.shape, grads["weight_ih"].shape
    ((3,), (8,), (32, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: npt.DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        super().__init__("lstm", input_size, hidden_size, bias, device, dtype, rng)


@arity.own_methods
class GRUCell(Cell):
    """One step of a GRU, as torch.nn.GRUCell; the formulas are those of `fastrnn.GRU`.

    Parameters and attributes are those of `LSTMCell`, with 3*H rows in the order r, z, n; the
    state is h alone, not a tuple.

    Examples
    --------
    >>> import numpy as np, fastrnn
    >>> cell = fastrnn.GRUCell(3, 8, rng=0)
    >>> cell(np.ones((2, 3), np.float32), np.zeros((2, 8), np.float32)).shape
    (2, 8)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: npt.DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        super().__init__("gru", input_size, hidden_size, bias, device, dtype, rng)


@arity.own_methods
class RNNCell(Cell):
    """One step of a simple recurrent network, as torch.nn.RNNCell.

    Parameters and attributes are those of `LSTMCell`, with H rows, and `nonlinearity`, "tanh" or
    "relu", in fourth place; the state is h alone, not a tuple.

    Examples
    --------
    >>> import numpy as np, fastrnn
    >>> cell = fastrnn.RNNCell(3, 8, nonlinearity="relu", rng=0)
    >>> bool((cell(np.ones((2, 3), np.float32)) >= 0).all())
    True
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        device: Any = None,
        dtype: npt.DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        cell = numbers.nonlinearity("RNNCell", nonlinearity)
        super().__init__(cell, input_size, hidden_size, bias, device, dtype, rng)

    @property
    def nonlinearity(self) -> str:
        """The activation, "tanh" or "relu"."""
        return self._problem.cell.removeprefix("rnn_")

    def _options(self) -> dict[str, Any]:
        relu = {"nonlinearity": "relu"} if self.nonlinearity == "relu" else {}
        return relu | super()._options()
