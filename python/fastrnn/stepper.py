"""Streaming inference: a stack of layers fed one step, or one block of steps, at a time."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from . import _core
from ._check import numbers, steps
from ._problem import Problem
from ._recurrent import Recurrent

__all__ = ["Stepper"]

Array = npt.NDArray[Any]
State = Any  # h, or (h, c) for cells with two states


class Stepper(_core.Stepper):
    """A stack that keeps its states from call to call, for inputs that arrive step by step.

    All memory is taken at construction. The outputs and states are those of the module called on
    the whole sequence, bit for bit, however the steps are cut into calls.

    Parameters
    ----------
    module : LSTM, GRU or RNN
        Of one direction. Its dropout is off, as in every inference; its batch_first is not heeded:
        blocks are time first.
    streams : int
        S, sequences that advance together, each with a state of its own.

    Notes
    -----
    The stepper shares the module's packed weights, those of its construction. Later changes of the
    parameters are not seen until `refresh`: looking for them at every step would take longer than
    the step (the module itself does look at every call).

    A stepper is used by one thread at a time (another one gets a RuntimeError); steppers of one
    module may run in as many threads as there are. A call runs on the thread that makes it. It
    gives up the GIL if it has at least 200,000 floating-point operations to do, which take a few
    microseconds; for less, giving it up costs more than others could do meanwhile.

    With ``out``, and x an aligned NumPy array of the module's dtype whose last axis is contiguous,
    a call allocates nothing. Any other x is copied first; so is an x that shares memory with out.

    Examples
    --------
    >>> import numpy as np, fastrnn
    >>> lstm = fastrnn.LSTM(3, 8, num_layers=2, rng=0)
    >>> x = np.random.default_rng(1).standard_normal((5, 4, 3), dtype=np.float32)  # (T, S, I)
    >>> stepper = fastrnn.Stepper(lstm, streams=4)
    >>> out = np.empty((4, 8), np.float32)
    >>> for x_t in x[:3]:
    ...     y_t = stepper.step(x_t, out)  # out itself, (S, H)
    >>> y_rest = stepper.process(x[3:])  # (2, 4, 8)
    >>> y, (h_n, c_n) = lstm(x)
    >>> bool((y_rest == y[3:]).all() and (stepper.state[1] == c_n).all())
    True
    >>> stepper.reset(mask=[True, False, False, False])  # stream 0 starts anew
    >>> stepper.state[0].shape
    (2, 4, 8)
    """

    def __init__(self, module: Recurrent, streams: int = 1) -> None:
        if not isinstance(module, Recurrent):
            raise TypeError(
                f"Stepper: module is {numbers.describe(module)}, expected an LSTM, GRU or RNN; "
                f"pass the layer first and the number of streams second"
            )
        steps.unidirectional("Stepper", module._problem)
        streams = numbers.integer("Stepper", "streams", streams, 1, steps.MAX_STREAMS)
        steps.room("Stepper", module._problem, streams)
        self._module = module
        self._problem: Problem = module._problem
        self._streams = streams
        self._create(module._pack("Stepper"), streams)

    @property
    def module(self) -> Recurrent:
        """The module whose weights it took."""
        return self._module

    @property
    def streams(self) -> int:
        """S."""
        return self._streams

    @property
    def state(self) -> State:
        """The state of every layer and stream: h (L, S, H), for LSTM the tuple (h, c).

        Reading gives copies; arrays that are assigned are copied. It has the form of the states
        that the module takes and returns.
        """
        found = [self._get_state(which) for which in range(self._problem.states)]
        return found[0] if len(found) == 1 else tuple(found)

    @state.setter
    def state(self, value: State) -> None:
        for which, array in enumerate(steps.states("Stepper.state", *self._sizes(), value)):
            self._set_state(which, array)

    def reset(self, mask: npt.ArrayLike | None = None, state: State = None) -> None:
        """Start streams anew.

        Parameters
        ----------
        mask : (S,) bools, optional
            The streams that start anew; None is all of them.
        state : like `state`, optional
            Where they start: the masked streams' part of h (L, S, H), for LSTM the tuple (h, c);
            None is zeros.

        Raises
        ------
        ValueError
            A shape does not fit. No state has been changed then.
        TypeError
            An argument has the wrong type or dtype.
        """
        chosen = steps.mask("Stepper.reset", self._streams, mask)
        arrays: list[Array | None] = [None] * self._problem.states
        if state is not None:
            arrays = [*steps.states("Stepper.reset", *self._sizes(), state)]
        for which, array in enumerate(arrays):
            self._set_state(which, array, chosen)

    def refresh(self) -> None:
        """Take the module's parameters as they are now; the states stay."""
        self._set_packed(self._module._pack("Stepper.refresh"))

    def _sizes(self) -> tuple[Problem, int]:
        return self._problem, self._streams

    def _fit(self, method: str, is_block: bool, x: Any, out: Any) -> tuple[Array, Array | None]:
        """Called by the engine for arrays that it does not read as they are."""
        return steps.block(f"Stepper.{method}", *self._sizes(), is_block, x, out)

    def __repr__(self) -> str:
        return f"Stepper({self._module!r}, streams={self._streams})"

    def __reduce__(self) -> Any:
        raise TypeError(
            "Stepper: a stepper holds memory of the engine and cannot be pickled or copied; "
            "create one from the module and set its state"
        )
