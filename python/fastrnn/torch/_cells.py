"""LSTMCell, GRUCell and RNNCell of torch.nn over the engine's kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import unwrap_dead_wrappers

from . import _context, _cuda, _ops
from ._call import run_step
from ._function import Step, wants_grad
from ._modules import in_memory
from ._quick import TORCH, quick_step
from ._stack import Sizes, Stack, stack_of
from ._weights import Addresses, held_by
from ._why import why_not_input, why_not_params, why_not_states, why_slower

_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Cell(torch.nn.RNNCellBase):
    """What the three cells share. Not public."""

    _torch_class: type[torch.nn.RNNCellBase]
    _states = 1

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """One step, as torch.nn's cell takes it.

        Parameters
        ----------
        input : (B, I) or (I,) tensor
        hx : (B, H) or (H,) tensor, for LSTMCell a tuple of two, optional
            State before the step; zeros if absent.

        Returns
        -------
        hx : like the state
            State after the step.
        """
        if not torch.compiler.is_compiling():
            own = self.__dict__
            held = own.get("_held_weights")
            if held is not None:
                after = quick_step(held, own["_parameters"], input, hx)
                if after is not None:
                    return self._torch_class.forward(self, input, hx) if after is TORCH else after
        params, found = self._weights(), None
        if _context.eager():
            found = held_by(self).known(params)
        if self.why_not(input, hx, params, found is not None) is not None:
            return self._torch_class.forward(self, input, hx)
        h, c = hx if self._states == 2 and hx is not None else (hx, None)
        if input.dim() == 1:
            h, c = (None if s is None else s.unsqueeze(0) for s in (h, c))
            after = self._run(input.unsqueeze(0), h, c, params, found)
            after = tuple([s.squeeze(0) for s in after])
        else:
            after = self._run(input, h, c, params, found)
        return after if self._states == 2 else after[0]

    def why_not(self, x: Tensor, hx: Any, params: list[Any], known: bool = False) -> str | None:
        """Why the kernels do not take this call; None if they do. `known` as in `_why`."""
        if not known:
            reason = why_not_params(self, params)
            if reason is not None:
                return reason
        dtype = params[1].dtype
        if _cuda.runs_on(params[1]):
            return "one step on a GPU, which does not repay packing the weights for the kernels"
        if _context.autocasts(x):
            return "autocast is on, and cells follow torch.nn's own casts"
        shape = x.shape
        if len(shape) not in (1, 2) or shape[-1] != self.input_size or shape[0] == 0:
            return f"input has shape {tuple(shape)}"
        reason = why_not_input(x, params, False)
        if reason is not None:
            return reason
        reason = why_slower(self, dtype, params, 1, 1 if len(shape) == 1 else shape[0])
        if reason is not None or hx is None:
            return reason
        states = hx if self._states == 2 else (hx,)
        if not isinstance(states, (tuple, list)) or len(states) != self._states:
            return "hx is not a pair"
        return why_not_states(states, (*shape[:-1], self.hidden_size), x, dtype, False)

    def _run(
        self, x: Tensor, h: Any, c: Any, params: list[Tensor], addresses: Addresses | None
    ) -> tuple[Tensor, ...]:
        if not (addresses is not None or _context.eager()) or not in_memory(x, h, c, params):
            h_0, c_0 = (None if s is None else s.unsqueeze(0) for s in (h, c))
            tensors = (x.unsqueeze(0), h_0, c_0, params, None)
            found = _ops.call(*tensors, self._cell(), 1, 1, False, 0.0)
            return tuple([s.squeeze(0) for s in found[1 : 1 + self._states]])
        x, h, c = unwrap_dead_wrappers((x, h, c))
        stack, held = self.stack(params[1].dtype), held_by(self)
        if addresses is None:
            held.learn(params)
        sizes = Sizes(stack, False, torch.Size((1, *x.shape)))
        held.last = (x.shape, (x.shape[0], stack.hidden_size), sizes)
        if torch.is_grad_enabled() and wants_grad(x, h, c, params):
            found = Step.apply(held, addresses, sizes, x, h, c, *params)
            return found if isinstance(found, tuple) else (found,)
        next_h, next_c, _ = run_step(stack, held, addresses, x, h, c, params, None)
        return (next_h,) if next_c is None else (next_h, next_c)

    def stack(self, dtype: torch.dtype) -> Stack:
        """What the kernels are told of this cell."""
        held, sizes = held_by(self), (self.input_size, self.hidden_size, 1, 1)
        stack = stack_of(self._cell(), *sizes, self.bias, dtype)
        return stack if held.stack is stack else held.take(stack)

    def _cell(self) -> str:
        raise NotImplementedError

    def _weights(self) -> list[Any]:
        own = self._parameters
        names = _NAMES if self.bias else _NAMES[:2]
        try:
            return [own[name] for name in names]
        except KeyError:  # weight_norm and the like put tensors of their own there
            return [getattr(self, name, None) for name in names]

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_held_weights", None)
        return state


class LSTMCell(Cell, torch.nn.LSTMCell):
    """torch.nn.LSTMCell: the same arguments, parameters, state dict and results.

    Examples
    --------
    >>> import torch, fastrnn.torch
    >>> cell = fastrnn.torch.LSTMCell(3, 8)
    >>> h, c = cell(torch.randn(4, 3))
    >>> h, c = cell(torch.randn(4, 3), (h, c))
    >>> h.shape, c.shape
    (torch.Size([4, 8]), torch.Size([4, 8]))
    """

    _torch_class = torch.nn.LSTMCell
    _states = 2

    def _cell(self) -> str:
        return "lstm"


class GRUCell(Cell, torch.nn.GRUCell):
    """torch.nn.GRUCell: the same arguments, parameters, state dict and results.

    Examples
    --------
    >>> import torch, fastrnn.torch
    >>> fastrnn.torch.GRUCell(3, 8)(torch.randn(4, 3)).shape
    torch.Size([4, 8])
    """

    _torch_class = torch.nn.GRUCell

    def _cell(self) -> str:
        return "gru"


class RNNCell(Cell, torch.nn.RNNCell):
    """torch.nn.RNNCell: the same arguments, parameters, state dict and results.

    Examples
    --------
    >>> import torch, fastrnn.torch
    >>> cell = fastrnn.torch.RNNCell(3, 8, nonlinearity="relu")
    >>> bool((cell(torch.randn(4, 3)) >= 0).all())
    True
    """

    _torch_class = torch.nn.RNNCell

    @property
    def nonlinearity(self) -> str:  # type: ignore[override]
        """ "tanh" or "relu"; to assign another forgets what is kept of calls."""
        found: str = self.__dict__["nonlinearity"]
        return found

    @nonlinearity.setter
    def nonlinearity(self, value: str) -> None:
        self.__dict__["nonlinearity"] = value
        self.__dict__.pop("_held_weights", None)

    def _cell(self) -> str:
        return f"rnn_{self.nonlinearity}"

    def why_not(self, x: Tensor, hx: Any, params: list[Any], known: bool = False) -> str | None:
        """Why the kernels do not take this call; None if they do."""
        if self.nonlinearity not in ("tanh", "relu"):
            return f"nonlinearity is {self.nonlinearity!r}"
        return super().why_not(x, hx, params, known)
