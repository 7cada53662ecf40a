"""LSTM, GRU and RNN of torch.nn over the engine's kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import unwrap_dead_wrappers
from torch.nn.utils.rnn import PackedSequence

from . import _context, _cuda, _cuda_function, _lengths, _ops
from ._call import run_forward
from ._function import Scan, room_for_backward, wants_grad
from ._identity import TorchIdentity
from ._quick import quick_scan, said_of
from ._stack import Sizes, Stack, stack_of
from ._weights import Addresses, held_by
from ._why import why_not

_MODES = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}


class Recurrent(TorchIdentity, torch.nn.RNNBase):
    """What the three layers share. Not public."""

    def forward(self, input: Any, hx: Any = None, *, lengths: Any = None) -> Any:
        """Run the layer as torch.nn's does.

        Parameters
        ----------
        input : (T, B, I) tensor, (B, T, I) if batch_first, (T, I), or PackedSequence
        hx : (L*D, B, H) tensor, for LSTM a tuple of two, optional
            Initial state, without the axis B if input has none; zeros if absent.
        lengths : (B,) integers in [0, T], optional
            Steps of each row, in any order, a tensor on any device or a sequence. Past its end a
            row's output is 0; its final state is the one at its end, and the reverse direction
            starts there. Not in torch.nn.

        Returns
        -------
        output : (T, B, D*H) tensor or PackedSequence, like input
        hx : like the initial state
        """
        if isinstance(input, PackedSequence):
            return _lengths.run_packed(self, input, hx, lengths)
        if lengths is None and not torch.compiler.is_compiling():
            own = self.__dict__
            held = own.get("_held_weights")
            if held is not None:
                after = quick_scan(held, self, own["_parameters"], input, hx)
                if after is not None:
                    return after
        params, batch_first = self._weights(), self.batch_first
        if lengths is not None:
            lengths = _lengths.checked(type(self).__name__, input, lengths, batch_first)
        found = None
        if _context.eager():
            held = held_by(self)
            found = held.known(params)
        ragged = lengths is not None
        if why_not(self, input, hx, params, batch_first, found is not None, ragged) is not None:
            return _lengths.run_torch(self, input, hx, lengths)
        states = hx if self.mode == "LSTM" and hx is not None else (hx, None)
        if input.dim() == 2:
            return self._run_one(input, states, params)
        return self._run(input, states, params, lengths, batch_first, found)

    def _weights(self) -> list[Any]:
        own = self._parameters
        names = self._flat_weights_names
        try:
            return [own[name] for name in names]
        except KeyError:  # weight_norm and the like put tensors of their own there
            return [getattr(self, name, None) for name in names]

    def stack(self, dtype: torch.dtype) -> Stack:
        """What the kernels are told of this module."""
        held, sizes = held_by(self), (self.input_size, self.hidden_size, self.num_layers)
        directions = 2 if self.bidirectional else 1
        stack = stack_of(_MODES[self.mode], *sizes, directions, self.bias, dtype)
        return stack if held.stack is stack else held.take(stack)

    def _run(
        self,
        x: Tensor,
        states: Any,
        params: list[Tensor],
        lengths: Any,
        batch_first: bool,
        addresses: Addresses | None = None,
        packed: bool = False,
    ) -> Any:
        """A batch that `why_not` has no word against; `packed` if it comes from such a sequence."""
        h_0, c_0 = states
        if _context.autocasts(x):
            return self._run_cast(x, states, params, lengths, batch_first, packed)
        dropout = self.dropout if self.training and self.num_layers > 1 else 0.0
        if not (addresses is not None or _context.eager()) or not in_memory(x, h_0, c_0, params):
            form = (_MODES[self.mode], self.num_layers, 2 if self.bidirectional else 1)
            y, h_n, c_n = _ops.call(x, h_0, c_0, params, lengths, *form, batch_first, dropout)
            return (y, (h_n, c_n)) if self.mode == "LSTM" else (y, h_n)
        x, h_0, c_0 = unwrap_dead_wrappers((x, h_0, c_0))
        stack = self.stack(params[1].dtype)
        if _cuda.runs_on(x):
            if lengths is not None:
                lengths = _cuda.place_lengths(lengths, x, x.shape[1 if batch_first else 0])
            found = _cuda_function.call(stack, batch_first, dropout, x, h_0, c_0, params, lengths)
            return (found[0], (found[1], found[2])) if stack.has_c else (found[0], found[1])
        sizes = Sizes(stack, batch_first, x.shape)
        held, seed = held_by(self), draw_seed(dropout)
        if addresses is None:
            held.learn(params)
        if not dropout and batch_first == self.batch_first:
            held.last = (said_of(self), sizes)
        if torch.is_grad_enabled() and wants_grad(x, h_0, c_0, params):
            known = (held, addresses, None, sizes, dropout, seed)
            found = Scan.apply(*known, x, h_0, c_0, lengths, *params)
        else:
            # Masks belong to training calls of the engine, so one without gradients keeps a
            # reserve for as long as it runs.
            reserve = room_for_backward(sizes, x, lengths) if dropout else None
            call = (sizes, held, addresses, None, x, h_0, c_0, params, lengths)
            found = run_forward(*call, dropout, seed, reserve)
        return (found[0], (found[1], found[2])) if stack.has_c else (found[0], found[1])

    def _run_one(self, x: Tensor, states: Any, params: list[Tensor]) -> Any:
        """One sequence without an axis of rows."""
        with_rows = tuple(None if s is None else s.unsqueeze(1) for s in states)
        y, hx = self._run(x.unsqueeze(1), with_rows, params, None, False)
        hx = tuple(s.squeeze(1) for s in hx) if isinstance(hx, tuple) else hx.squeeze(1)
        return y.squeeze(1), hx

    def _run_cast(
        self,
        x: Tensor,
        states: Any,
        params: list[Tensor],
        lengths: Any,
        batch_first: bool,
        packed: bool,
    ) -> Any:
        """Under autocast: float32 inside, the dtypes that torch.nn returns outside.

        On a GPU torch.nn computes in float16, whatever dtype autocast was given; so do we.
        """
        if _cuda.runs_on(x):
            with torch.autocast(x.device.type, enabled=False):
                halves = tuple(None if s is None else s.half() for s in states)
                weights = [p.half() for p in params]
                return self._run(x.half(), halves, weights, lengths, batch_first)
        given = x if states[0] is None else states[0]
        stays = self.mode == "GRU" or (self.mode == "LSTM" and packed)
        narrow = given.dtype if stays else torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            wide = tuple(None if s is None else s.float() for s in states)
            y, hx = self._run(x.float(), wide, params, lengths, batch_first)
            hx = tuple(s.to(narrow) for s in hx) if isinstance(hx, tuple) else hx.to(narrow)
            return y.to(narrow), hx

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_held_weights", None)
        return state


_PLAIN = frozenset((Tensor, torch.nn.Parameter))


def in_memory(x: Tensor, h_0: Any, c_0: Any, params: list[Tensor]) -> bool:
    """Whether these tensors, states None or a tensor, are nothing but numbers in memory."""
    return (
        type(x) in _PLAIN
        and not x.is_meta
        and (h_0 is None or type(h_0) in _PLAIN)
        and (c_0 is None or type(c_0) in _PLAIN)
        and _PLAIN.issuperset(map(type, params))
    )


def draw_seed(dropout: float) -> int:
    """The key of a call's masks, from torch's generator; nothing is drawn without dropout."""
    return int(torch.randint(2**63 - 1, (), device="cpu")) if dropout else 0


class LSTM(Recurrent):
    """torch.nn.LSTM: the same arguments, parameters, state dict and results.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size
        As torch.nn.LSTM; device and dtype too.

    Notes
    -----
    A call with float32 or float64 parameters in CPU memory runs the engine's kernels, and one on a
    GPU the CUDA kernels where they are expected to be quicker; any other, and one with projections,
    runs as torch.nn runs it (`fastrnn.torch.explain` says which).
    The masks of dropout are the engine's, keyed by a number drawn from torch's generator.

    Examples
    --------
    >>> import torch, fastrnn.torch
    >>> lstm = fastrnn.torch.LSTM(3, 8, num_layers=2, bidirectional=True)
    >>> y, (h_n, c_n) = lstm(torch.randn(5, 4, 3), lengths=[5, 2, 0, 3])
    >>> y.shape, h_n.shape, c_n.shape
    (torch.Size([5, 4, 16]), torch.Size([4, 4, 8]), torch.Size([4, 4, 8]))
    >>> isinstance(lstm, torch.nn.LSTM)
    True
    """

    _torch_class = torch.nn.LSTM
    check_forward_args = torch.nn.LSTM.check_forward_args
    get_expected_cell_size = torch.nn.LSTM.get_expected_cell_size
    permute_hidden = torch.nn.LSTM.permute_hidden

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(Recurrent):
    """torch.nn.GRU: the same arguments, parameters, state dict and results; see `LSTM`.

    Examples
    --------
    >>> import torch, fastrnn.torch
    >>> gru = fastrnn.torch.GRU(3, 8, batch_first=True)
    >>> y, h_n = gru(torch.randn(4, 5, 3))
    >>> y.shape, h_n.shape
    (torch.Size([4, 5, 8]), torch.Size([1, 4, 8]))
    """

    _torch_class = torch.nn.GRU

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse_projection(kwargs)
        super().__init__("GRU", *args, **kwargs)


class RNN(Recurrent):
    """torch.nn.RNN: the same arguments, parameters, state dict and results; see `LSTM`.

    Examples
    --------
    >>> import torch, fastrnn.torch
    >>> rnn = fastrnn.torch.RNN(3, 8, nonlinearity="relu")
    >>> bool((rnn(torch.randn(5, 4, 3))[0] >= 0).all())
    True
    """

    _torch_class = torch.nn.RNN

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse_projection(kwargs)
        if len(args) > 3:
            kind, args = args[3], args[:3] + args[4:]
        else:
            kind = kwargs.pop("nonlinearity", "tanh")
        if kind not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{kind}'. Select from 'tanh' or 'relu'.")
        self.nonlinearity = kind
        super().__init__(f"RNN_{kind.upper()}", *args, **kwargs)


def _refuse_projection(kwargs: dict[str, Any]) -> None:
    if "proj_size" in kwargs:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
