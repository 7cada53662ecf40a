"""What a peer has to do to be timed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.problems import Problem

Array = NDArray[np.float32]


class Peer(ABC):
    """One implementation of the recurrent layers, living in a process of its own.

    The process is told the number of threads through ``OMP_NUM_THREADS`` and its relatives before
    it starts; ``prepare`` gets the same number for libraries that need a call. Heavy imports belong
    inside the methods, so that looking at a class costs nothing.
    """

    name: ClassVar[str]
    """What the tables call it."""
    modes: ClassVar[tuple[str, ...]] = ("inference", "training")
    """The modes it can do; it is left out of the others. "stream" needs `start_stream`, `step`."""
    cells: ClassVar[tuple[str, ...]] = ("lstm", "gru", "rnn")
    """The cells it can do; it is left out of the others."""
    stacks: ClassVar[bool] = False
    """Whether it can do several layers or directions; it is left out of them otherwise."""
    ragged: ClassVar[bool] = False
    """Whether it can do rows of different lengths, see `set_lengths`."""
    dtypes: ClassVar[tuple[str, ...]] = ("float32",)
    """The dtypes it can do; it is left out of the others."""
    x: Any
    """What a stream steps over, one step an element; `prepare` sets it."""
    effort: ClassVar[float] = 1.0
    """Share of the usual time that it is timed for: less for a peer that takes long to prepare."""

    @classmethod
    @abstractmethod
    def available(cls) -> str | None:
        """None when the peer can run here, else one sentence that says why not."""

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """The version that is being timed."""

    @classmethod
    def declines(cls, problem: Problem) -> str | None:
        """None, or one sentence that says why this peer had better not be given this problem."""
        return None

    @abstractmethod
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
        """Build the layer and hand it the arrays, compile what has to be compiled; not timed.

        Parameters
        ----------
        problem : Problem
            Cell, mode and sizes.
        weights : dict of float32 arrays
            ``weight_ih_l0`` (G*H, I), ``weight_hh_l0`` (G*H, H), ``bias_ih_l0`` and ``bias_hh_l0``
            (G*H,), in PyTorch's gate orders i f g o and r z n; further layers and directions under
            PyTorch's names (``weight_ih_l1_reverse``), weight_ih being (G*H, D*H) above layer 0.
        x : (T, B, I) float32
        h_0, c_0 : (L*D, B, H) float32
            Initial states; c_0 is None for cells without one.
        d_y : (T, B, D*H) float32
            Gradient that arrives at the output, for the training mode.
        threads : int
            Compute threads to use.
        """

    @abstractmethod
    def infer(self) -> None:
        """One forward call as a user would write it, without anything saved for backward."""

    def train_step(self) -> None:
        """One forward and one full backward call: gradients to x and to every weight.

        Only called when "training" is in ``modes``.
        """
        raise NotImplementedError(f"{self.name} lists training in its modes but has no train_step")

    def set_lengths(self, lengths: NDArray[np.int64]) -> None:
        """Take the steps of each row, (B,) in 1..T; called after `prepare`, before any call.

        Only called when `ragged` is true. Results past a row's end are zeros.
        """
        raise NotImplementedError(f"{self.name} says it is ragged but has no set_lengths")

    def start_stream(self) -> None:
        """Go back to the initial states, for the stream mode; not timed."""
        raise NotImplementedError(f"{self.name} lists stream in its modes but has no start_stream")

    def step(self, t: int) -> Array:
        """One step with the carried state on x[t], as a user would write it.

        Returns
        -------
        (B, H) float32
            The output, readable by NumPy without further work; it may be overwritten by the next
            step.
        """
        raise NotImplementedError(f"{self.name} lists stream in its modes but has no step")

    def stream(self) -> None:
        """All steps of x, one call each; the state goes on where it was. This is what is timed."""
        step = self.step
        for t in range(len(self.x)):
            step(t)

    def touch_weights(self) -> None:  # noqa: B027 - doing nothing is right for most peers
        """Change the weights a little, in place; called before every training step, not timed.

        An optimizer changes the weights between any two steps, so a layer that keeps packed weights
        from call to call must not be timed as if they never changed. Layers that keep nothing
        need not do anything.
        """

    @abstractmethod
    def results(self) -> dict[str, Array]:
        """What the last call computed, for checking.

        Returns
        -------
        dict of float32 arrays
            ``y`` (T, B, D*H), ``h_n`` and, for LSTM, ``c_n`` (L*D, B, H); after a training step
            also ``d_x`` (T, B, I) and ``d_`` + name for every weight.
        """

    def plan(self) -> dict[str, Any] | None:
        """What the library says about how it runs the prepared problem, if it says anything."""
        return None


def toggle_first_element(array: Array) -> None:
    """Move the first element of an array between two neighbouring float32 values, in place.

    The smallest change that a layer which looks at its weights has to notice; two calls restore
    the array.

    Examples
    --------
    >>> a = np.ones(2, np.float32)
    >>> toggle_first_element(a); bool(a[0] == 1), a[1]
    (False, np.float32(1.0))
    >>> toggle_first_element(a); bool(a[0] == 1)
    True
    """
    first = array.reshape(-1)[:1].view(np.uint32)
    first ^= np.uint32(1)
