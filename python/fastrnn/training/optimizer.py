"""What every optimizer shares: checks, state arrays, the walk over cache-sized pieces.

``optimizer.step(grads)`` changes the arrays that it was given; they stay the same objects, so a
model that owns them sees the change. Each update is written as in-place NumPy calls over pieces of
``_CHUNK`` elements: two scratch pieces stay in the L2 cache, and nothing is allocated in a step.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

__all__ = ["Optimizer"]

# 16384 float32 are 64 KB: parameter, gradient, two moments and two scratch pieces fit into L2.
_CHUNK = 16384


def check_not_negative(owner: str, **values: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{owner}: {name} is {value!r}, expected a finite number >= 0")
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{owner}: {name} is {value}, expected a finite number >= 0")


class Optimizer:
    """Base: holds the live parameters and one state array of each kind for each of them.

    Parameters
    ----------
    parameters : mapping of str to float array
        From ``model.parameters()``; C-contiguous, writable, float32 or float64.
    lr : float
        May be set between steps: ``optimizer.lr = ...``.
    """

    algorithm: ClassVar[str] = ""
    slots: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parameters: Mapping[str, np.ndarray], lr: float) -> None:
        owner = type(self).__name__
        check_not_negative(owner, lr=lr)
        if not isinstance(parameters, Mapping):
            raise TypeError(
                f"{owner}: parameters is a {type(parameters).__name__}, expected a dict of name -> "
                "array; model.parameters() returns one"
            )
        for name, array in parameters.items():
            if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
                raise TypeError(f"{owner}: {name} is no float32 or float64 NumPy array")
            if not (array.flags.c_contiguous and array.flags.writeable):
                raise ValueError(f"{owner}: {name} is not C-contiguous and writable")
        if not parameters:
            raise ValueError(f"{owner}: got no parameters, expected at least one array")
        self.parameters = dict(parameters)
        self.lr = float(lr)
        self.steps = 0
        self.state = {
            slot: {name: np.zeros_like(array) for name, array in self.parameters.items()}
            for slot in self._used_slots()
        }
        self._scratch: dict[np.dtype, tuple[np.ndarray, np.ndarray]] = {
            array.dtype: (np.empty(_CHUNK, array.dtype), np.empty(_CHUNK, array.dtype))
            for array in self.parameters.values()
        }

    def _used_slots(self) -> tuple[str, ...]:
        return self.slots

    def step(self, grads: Mapping[str, np.ndarray]) -> None:
        """Change every parameter by its gradient.

        Parameters
        ----------
        grads : mapping of str to array
            One gradient of the parameter's shape and dtype for every parameter of the optimizer;
            further names are ignored (parameters that are frozen by leaving them out). Not
            changed.

        Raises
        ------
        ValueError, TypeError
            A gradient is missing or has another shape or dtype; no parameter is changed then.
        """
        owner = type(self).__name__
        for name, array in self.parameters.items():
            if name not in grads:
                raise ValueError(f"{owner}.step: grads has no {name}, expected every parameter")
            grad = grads[name]
            if grad.shape != array.shape:
                raise ValueError(
                    f"{owner}.step: gradient of {name} has shape {grad.shape}, "
                    f"expected {array.shape} like the parameter"
                )
            if grad.dtype != array.dtype:
                raise TypeError(
                    f"{owner}.step: gradient of {name} has dtype {grad.dtype}, "
                    f"expected {array.dtype} like the parameter"
                )
        self.steps += 1
        for name, array in self.parameters.items():
            scratch = self._scratch[array.dtype]
            arrays = [array, grads[name], *(slot[name] for slot in self.state.values())]
            for p, g, *slots in _pieces(arrays):
                self._update(p, g, slots, scratch[0][: p.size], scratch[1][: p.size])

    def _update(
        self, p: np.ndarray, g: np.ndarray, slots: list[np.ndarray], a: np.ndarray, b: np.ndarray
    ) -> None:
        raise NotImplementedError

    def hyperparameters(self) -> dict[str, float | bool]:
        """What the constructor was given, by name."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs: numbers by name, and ``state`` (slot -> name -> copy)."""
        return {
            "algorithm": self.algorithm,
            "steps": self.steps,
            **self.hyperparameters(),
            "state": {
                slot: {name: array.copy() for name, array in arrays.items()}
                for slot, arrays in self.state.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave; ValueError when it is of another optimizer."""
        owner = type(self).__name__
        if state.get("algorithm") != self.algorithm:
            raise ValueError(
                f"{owner}: state is of {state.get('algorithm')!r}, expected {self.algorithm!r}"
            )
        missing = [k for k in ("steps", "state", *self.hyperparameters()) if k not in state]
        if missing:
            raise ValueError(f"{owner}: state has no {missing}; it is not a complete state_dict")
        values = {name: state[name] for name in self.hyperparameters()}
        slots = state["state"]
        if set(slots) != set(self.state):
            raise ValueError(
                f"{owner}: state has slots {sorted(slots)}, expected {sorted(self.state)}; build "
                "the optimizer with the options of the saved one"
            )
        for slot, arrays in self.state.items():
            for name, array in arrays.items():
                if name not in slots[slot] or slots[slot][name].shape != array.shape:
                    raise ValueError(
                        f"{owner}: state {slot} of {name} is missing or has another shape, "
                        f"expected {array.shape}"
                    )
        for slot, arrays in self.state.items():
            for name, array in arrays.items():
                array[...] = slots[slot][name]
        self.steps = int(state["steps"])
        for name, value in values.items():
            setattr(self, name, value)


def _pieces(arrays: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Aligned one-dimensional views of at most ``_CHUNK`` elements of equally shaped arrays."""
    flats = [array.reshape(-1) for array in arrays]
    for start in range(0, flats[0].size, _CHUNK):
        yield [flat[start : start + _CHUNK] for flat in flats]
