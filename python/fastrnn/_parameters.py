"""Parameters by name: plain NumPy arrays as attributes, exchanged as state dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core
from ._check import numbers, parameters
from ._gpu import Machine
from ._problem import Problem, Shape

Array = npt.NDArray[Any]
Rng = int | np.random.Generator | np.random.SeedSequence | np.random.BitGenerator | None


_MODES = "calling the module is inference, forward is training; there is nothing to switch"
_TORCH_WAYS = {
    "train": _MODES,
    "eval": _MODES,
    "to": "create the module with dtype=... and load_state_dict into it; it runs on the CPU",
    "cuda": "the module runs on the CPU",
    "zero_grad": "backward returns the gradients and keeps none",
}


class LoadResult(NamedTuple):
    """What `load_state_dict` did not find, and what it found no use for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_parameters(
    owner: str, live: Mapping[str, Array], state_dict: Any, strict: bool, layout: str = ""
) -> LoadResult:
    """Copy arrays into the live ones by name, after every name and shape has been checked."""
    call = f"{owner}.load_state_dict"
    parameters.writable(call, live)
    state_dict = parameters.mapping(call, "state_dict", state_dict)
    strict = numbers.flag(call, "strict", strict)
    advice = "create the module with the arguments of the saved one, or pass strict=False"
    missing, unexpected = parameters.names(
        call, "state_dict", state_dict, live, advice if strict else ""
    )
    arrays = {
        name: parameters.saved_array(call, name, state_dict[name], array.shape, layout)
        for name, array in live.items()
        if name in state_dict
    }
    for name, array in arrays.items():
        live[name][...] = array
    return LoadResult(missing, unexpected)


class Parameterized:
    """Base of the layers and the cells: a problem, its parameters, their packed form.

    A parameter is an ordinary writable array and an attribute. It may be changed in place, and
    assigning to the attribute copies into it, so that optimizers and other holders of the array
    see the change. The engine compares the weights at every call and packs them again when they
    differ; after `freeze` it takes them as they are.
    """

    _problem: Problem
    _shapes: dict[str, Shape]
    _packed: _core.Packed | None
    _frozen: bool

    def _create(self, problem: Problem, shapes: dict[str, Shape], rng: Any) -> None:
        call = type(self).__name__
        generator = numbers.rng(call, rng)
        self._problem = problem
        self._packed = None
        self._frozen = False
        self._shapes = shapes
        for name, shape in shapes.items():
            self.__dict__[name] = np.empty(shape, problem.dtype)
        # A stream of its own, so that dropout does not depend on who else draws from `rng`.
        own = np.random.PCG64([int(word) for word in generator.integers(2**32, size=4)])
        self._rng = np.random.Generator(own)
        self.reset_parameters(generator)

    def reset_parameters(self, rng: Rng = None) -> None:
        """Draw every parameter anew from U(-1/sqrt(H), 1/sqrt(H)), as torch.nn does.

        Parameters
        ----------
        rng : int, numpy.random.Generator, or what else `numpy.random.default_rng` takes
            Source of the numbers; None is the module's own generator. They are drawn in float64
            and rounded, so that a float32 module starts as the rounded float64 one.
        """
        call = f"{type(self).__name__}.reset_parameters"
        generator = self._rng if rng is None else numbers.rng(call, rng)
        parameters.writable(call, self.parameters())
        bound = 1.0 / np.sqrt(self._problem.hidden_size)
        for name, array in self.parameters().items():
            array[...] = generator.uniform(-bound, bound, self._shapes[name])

    def parameters(self) -> dict[str, Array]:
        """Name -> live array, in torch's order; changing one in place changes the module."""
        return {name: self.__dict__[name] for name in self._shapes}

    def state_dict(self) -> dict[str, Array]:
        """Name -> copy of the array, in torch's order."""
        return {name: array.copy() for name, array in self.parameters().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy weights into the parameters, in place.

        Parameters
        ----------
        state_dict : mapping of name -> array
            NumPy arrays or torch tensors, such as ``torch_lstm.state_dict()``. Values are
            converted to the module's dtype, as torch does.
        strict : bool
            Refuse missing and unexpected names.

        Returns
        -------
        missing_keys, unexpected_keys : list of str

        Raises
        ------
        ValueError
            A name (if strict) or a shape does not fit. Nothing has been changed then.
        TypeError
            A value is no array of floating-point numbers.
        RuntimeError
            The parameters are frozen.
        """
        layout = f" ({parameters.LAYOUT})"
        return load_parameters(type(self).__name__, self.parameters(), state_dict, strict, layout)

    def freeze(self) -> None:
        """Make the parameters read-only, so that calls need not look whether they have changed.

        A call reads all weights to compare them with those it knows: for few rows and steps that
        takes as long as the call itself. The parameters become read-only copies: who held the
        arrays before, such as an optimizer, holds them no longer. `unfreeze` makes them writable.
        Gradients are computed as before. Setting an array's ``writeable`` flag by hand
        makes the next call look again; setting it, writing, and clearing it goes unnoticed.

        Examples
        --------
        >>> import fastrnn
        >>> lstm = fastrnn.LSTM(3, 4, rng=0)
        >>> lstm.freeze()
        >>> lstm.weight_ih_l0[0, 0] = 1
        Traceback (most recent call last):
        ValueError: assignment destination is read-only
        >>> lstm.unfreeze()
        >>> lstm.weight_ih_l0[0, 0] = 1
        """
        for name, array in self.parameters().items():
            copy = array.copy()
            copy.flags.writeable = False
            self.__dict__[name] = copy
        self._pack(f"{type(self).__name__}.freeze")
        self._frozen = True

    def unfreeze(self) -> None:
        """Make the parameters writable again; every call looks at them as before `freeze`."""
        self._frozen = False
        for array in self.parameters().values():
            array.flags.writeable = True

    def _pack(self, call: str) -> _core.Packed:
        """The parameters in the kernels' form; the same object while they do not change."""
        p = self._problem
        own = self.__dict__
        packed: _core.Packed | None = own["_packed"]
        writable = any(own[name].flags.writeable for name in self._shapes)
        if own["_frozen"] and packed is not None and not writable:
            return packed
        arrays = [
            parameters.live(call, name, own[name], shape, p.dtype)
            for name, shape in self._shapes.items()
        ]
        # One read and one assignment, each atomic: threads may race here and each still gets a
        # snapshot of the parameters it saw.
        packed = p.pack(arrays, packed)
        own["_packed"] = packed
        return packed

    def _on_device(self, call: str, machine: Machine) -> list[Any]:
        """The parameters on a GPU: the copies of the last call while nothing has changed."""
        own = self.__dict__
        packed = self._pack(call)
        kept = own.get("_uploaded")
        if kept is None or kept[0] is not packed or kept[1] != machine.device:
            copies = [machine.xp.asarray(own[name]) for name in self._shapes]
            machine.wait()  # the next call may come on another stream
            kept = own["_uploaded"] = (packed, machine.device, copies)
        return list(kept[2])

    def __setattr__(self, name: str, value: Any) -> None:
        shapes = self.__dict__.get("_shapes", {})
        if name in shapes:
            call = type(self).__name__
            value = parameters.parameter(call, name, value, shapes[name], self._problem.dtype)
            live = self.__dict__[name]
            if self._frozen:
                parameters.writable(call, {name: live})
            if live.shape == value.shape and live.flags.writeable:
                live[...] = value  # an optimizer holds the array
                return
        elif shapes and name.startswith(("weight_", "bias_")):
            raise AttributeError(
                f"{type(self).__name__}: {name} is no parameter, expected one of "
                f"{', '.join(list(shapes)[:4])}{', ...' if len(shapes) > 4 else ''}; create the "
                f"module with bias=True, num_layers or bidirectional to have more"
            )
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        way = _TORCH_WAYS.get(name)
        if way is not None:
            raise AttributeError(
                f"{type(self).__name__}: there is no {name}(), expected none; {way}"
            )
        return object.__getattribute__(self, name)  # raises again, in Python's words

    def __delattr__(self, name: str) -> None:
        if name in self._shapes:
            raise AttributeError(
                f"{type(self).__name__}: {name} is a parameter and cannot be deleted; "
                f"create the module with bias=False to have none"
            )
        object.__delattr__(self, name)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the packed weights, which belong to this machine; a copy is writable."""
        kept = {name: value for name, value in self.__dict__.items() if name != "_uploaded"}
        return kept | {"_packed": None, "_frozen": False}

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the parameters, and so of inputs, states and results."""
        return self._problem.dtype

    @property
    def input_size(self) -> int:
        """I, the last axis of x."""
        return self._problem.input_size

    @property
    def hidden_size(self) -> int:
        """H, the last axis of the states."""
        return self._problem.hidden_size

    @property
    def bias(self) -> bool:
        """Whether there are bias_ih and bias_hh."""
        return self._problem.bias

    def _options(self) -> dict[str, Any]:
        """What `repr` shows after the sizes: name -> value, where it is not the default."""
        p = self._problem
        options: dict[str, Any] = {} if p.bias else {"bias": False}
        return options if p.dtype == np.float32 else options | {"dtype": p.dtype}

    def __repr__(self) -> str:
        parts = [str(self._problem.input_size), str(self._problem.hidden_size)]
        parts += [f"{name}={value}" for name, value in self._options().items()]
        return f"{type(self).__name__}({', '.join(parts)})"
