"""What a trainable piece is, and how pieces are chained.

There are two contracts, told apart by one base class:

=============  ==========================================  =======================================
piece          training                                    inference
=============  ==========================================  =======================================
:class:`Module`  ``y, tape = piece.forward(x)``            ``y = piece(x)``
(no state)     ``d_x, grads = piece.backward(tape, d_y)``
recurrent      ``y, state, tape = piece.forward(x, state)``  ``y, state = piece(x, state)``
(any other)    ``d_x, d_state, grads = piece.backward(tape, d_y, d_state)``
=============  ==========================================  =======================================

``fastrnn.LSTM``, ``GRU`` and ``RNN`` follow the second contract as they are, and so does
:class:`Sequential`, so a chain can be a link of another chain. Both kinds have

* ``parameters()``: dict of name -> array. The arrays are the live ones: an optimizer changes them
  in place and the piece sees the change;
* ``state_dict()`` and ``load_state_dict(d)``: copies out, copies in.

Assigning to a parameter copies into the live array.

There is no train/eval switch to forget: ``forward`` trains (dropout on, a tape is kept) and
calling the piece infers (dropout off, nothing is kept).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .._parameters import LoadResult, load_parameters

__all__ = ["Module", "Sequential"]


class Module:
    """A trainable piece without recurrent state: the base of Linear, Embedding, Dropout.

    Subclasses name the attributes that hold their parameters in ``_names`` and write
    ``__call__``, ``forward`` and ``backward``.
    """

    _names: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        live = self.__dict__.get(name)
        if name not in self._names or live is None:
            object.__setattr__(self, name, value)
            return
        found = np.asarray(value)
        if found.shape != live.shape or found.dtype != live.dtype:
            raise ValueError(
                f"{type(self).__name__}: {name} has {found.dtype} {found.shape}, expected "
                f"{live.dtype} {live.shape}; create the layer with the sizes of these weights"
            )
        live[...] = found  # an optimizer holds the array

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Inference: the output alone, nothing kept."""
        raise NotImplementedError

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        """Training: the output, and the tape that ``backward`` needs."""
        raise NotImplementedError

    def backward(
        self, tape: Any, d_y: np.ndarray
    ) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
        """Gradients of the input (None when it has none) and of each parameter."""
        raise NotImplementedError

    def parameters(self) -> dict[str, np.ndarray]:
        """Name -> live array."""
        return {name: getattr(self, name) for name in self._names}

    def state_dict(self) -> dict[str, np.ndarray]:
        """Name -> copy."""
        return {name: array.copy() for name, array in self.parameters().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy arrays into the parameters, in place.

        Parameters
        ----------
        state_dict : mapping of str to array
            Name -> NumPy array or torch tensor of the parameter's shape; converted to its dtype.
        strict : bool
            Whether every parameter must be there and nothing else.

        Returns
        -------
        missing_keys, unexpected_keys : list of str

        Raises
        ------
        ValueError
            A name is missing or unknown (strict), or a shape differs; nothing is changed then.
        TypeError
            A value is no array of floating-point numbers.
        """
        return load_parameters(type(self).__name__, self.parameters(), state_dict, strict)

    def rng_state(self) -> dict[str, int]:
        """What a resumed run needs besides the parameters (Dropout: its call counter)."""
        return {}

    def set_rng_state(self, state: Mapping[str, int]) -> None:
        """Take back what :meth:`rng_state` gave."""
        if state:
            raise ValueError(f"{type(self).__name__} has no loop state, got {sorted(state)}")


class Sequential:
    """Pieces applied one after the other; carries the states of the recurrent ones.

    Parameters
    ----------
    *pieces, **named_pieces
        Links of the chain in order. Positional ones are called ``"0"``, ``"1"``, ...; the name
        is the prefix of the link's parameters (``"lstm.weight_ih_l0"``).

    Notes
    -----
    The state of the chain is a tuple with one entry for each recurrent link, or None for zeros.
    Truncated back-propagation through time is: hand the state that one window returned to the
    next window, and give ``backward`` no gradient for it.

    >>> import numpy as np
    >>> from fastrnn.training import Linear, Sequential
    >>> model = Sequential(first=Linear(3, 4, rng=0), second=Linear(4, 2, rng=1))
    >>> y, state, tape = model.forward(np.ones((5, 7, 3), np.float32))
    >>> y.shape, state
    ((5, 7, 2), ())
    >>> d_x, _, grads = model.backward(tape, np.ones_like(y))
    >>> sorted(grads)
    ['first.bias', 'first.weight', 'second.bias', 'second.weight']
    """

    def __init__(self, *pieces: Any, **named_pieces: Any) -> None:
        self.pieces: dict[str, Any] = {str(i): piece for i, piece in enumerate(pieces)}
        self.pieces.update(named_pieces)
        if not self.pieces:
            raise ValueError("Sequential: got no pieces, expected at least one")
        for name, piece in self.pieces.items():
            if not (hasattr(piece, "forward") and hasattr(piece, "backward")):
                raise TypeError(
                    f"Sequential: piece {name!r} is a {type(piece).__name__}, expected an object "
                    "with forward and backward"
                )
        self.recurrent = [name for name, p in self.pieces.items() if not isinstance(p, Module)]

    def _states(self, state: tuple[Any, ...] | None) -> Iterator[Any]:
        if state is None:
            return iter([None] * len(self.recurrent))
        if not isinstance(state, tuple) or len(state) != len(self.recurrent):
            raise ValueError(
                f"Sequential: state has {len(state) if isinstance(state, tuple) else state!r} "
                f"entries, expected a tuple of {len(self.recurrent)} (one for each of "
                f"{self.recurrent}); pass the state that an earlier call returned, or None"
            )
        return iter(state)

    def __call__(
        self, x: np.ndarray, state: tuple[Any, ...] | None = None, lengths: Any = None
    ) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Inference: ``(y, state)``. See :meth:`forward` for the arguments."""
        states = self._states(state)
        out = []
        for piece in self.pieces.values():
            if isinstance(piece, Module):
                x = piece(x)
            else:
                x, last = piece(x, next(states), **_given(lengths))
                out.append(last)
        return x, tuple(out)

    def forward(
        self,
        x: np.ndarray,
        state: tuple[Any, ...] | None = None,
        lengths: Any = None,
        *,
        recompute: bool | int = False,
    ) -> tuple[np.ndarray, tuple[Any, ...], list[Any]]:
        """Training pass.

        Parameters
        ----------
        x : ndarray
            The input of the first piece, time first: ``(T, B)`` integers for an Embedding,
            ``(T, B, I)`` floats for a recurrent layer.
        state : tuple or None
            One entry for each recurrent piece; None is zeros.
        lengths : (B,) int array or None
            Passed on to the recurrent pieces.
        recompute : bool or int
            Passed on to the recurrent pieces: less memory for more time, the same bits.

        Returns
        -------
        y, state, tape
        """
        states = self._states(state)
        out, tapes = [], []
        for piece in self.pieces.values():
            if isinstance(piece, Module):
                x, tape = piece.forward(x)
            else:
                x, last, tape = piece.forward(x, next(states), **_given(lengths, recompute))
                out.append(last)
            tapes.append(tape)
        return x, tuple(out), tapes

    def backward(
        self, tape: list[Any], d_y: np.ndarray | None, d_state: tuple[Any, ...] | None = None
    ) -> tuple[np.ndarray | None, tuple[Any, ...], dict[str, np.ndarray]]:
        """Back-propagate.

        Parameters
        ----------
        tape : list
            From :meth:`forward`; may be used again.
        d_y : ndarray
            Gradient of the output, shape and dtype of ``y``.
        d_state : tuple or None
            Gradients of the states that :meth:`forward` returned; None is zero, which is what
            truncated back-propagation wants.

        Returns
        -------
        d_x : ndarray or None
            None when the first piece takes integers.
        d_state_0 : tuple
            Gradients of the states that :meth:`forward` was given.
        grads : dict
            ``"piece.parameter"`` -> gradient.
        """
        states = list(self._states(d_state))
        d_states: list[Any] = []
        d_out: Any = d_y  # None only where a recurrent piece takes it for zero
        grads: dict[str, np.ndarray] = {}
        for (name, piece), piece_tape in zip(
            reversed(self.pieces.items()), reversed(tape), strict=True
        ):
            if isinstance(piece, Module):
                d_out, piece_grads = piece.backward(piece_tape, d_out)
            else:
                d_out, d_piece, piece_grads = piece.backward(piece_tape, d_out, states.pop())
                d_states.insert(0, d_piece)
            grads.update({f"{name}.{key}": grad for key, grad in piece_grads.items()})
        return d_out, tuple(d_states), grads

    def parameters(self) -> dict[str, np.ndarray]:
        """``"piece.parameter"`` -> live array."""
        return {
            f"{name}.{key}": array
            for name, piece in self.pieces.items()
            for key, array in piece.parameters().items()
        }

    def state_dict(self) -> dict[str, np.ndarray]:
        """``"piece.parameter"`` -> copy."""
        return {name: array.copy() for name, array in self.parameters().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy arrays into the parameters, in place; see :meth:`Module.load_state_dict`."""
        return load_parameters("Sequential", self.parameters(), state_dict, strict)

    def rng_state(self) -> dict[str, int]:
        """``"piece.name"`` -> number; what a resumed run needs besides the parameters."""
        return {
            f"{name}.{key}": value
            for name, piece in self.pieces.items()
            for key, value in getattr(piece, "rng_state", dict)().items()
        }

    def set_rng_state(self, state: Mapping[str, int]) -> None:
        """Take back what :meth:`rng_state` gave."""
        if set(state) != set(self.rng_state()):
            raise ValueError(
                f"Sequential: loop state has names {sorted(state)}, "
                f"expected {sorted(self.rng_state())}"
            )
        for name, piece in self.pieces.items():
            own = {k[len(name) + 1 :]: v for k, v in state.items() if k.startswith(f"{name}.")}
            if own:
                piece.set_rng_state(own)


def _given(lengths: Any, recompute: bool | int = False) -> dict[str, Any]:
    """Keyword arguments of a recurrent piece: none at all for what was not asked for."""
    given = {} if lengths is None else {"lengths": lengths}
    return given if recompute is False else given | {"recompute": recompute}
