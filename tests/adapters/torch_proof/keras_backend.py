"""Keras' recurrent backend on the layers under proof: `keras.src.backend.lstm` and `gru`.

`install()` puts `lstm` and `gru` in the place of Keras' own and counts what they compute. They
raise NotImplementedError, upon which Keras runs its own loop, for what the kernels do not have;
each reason is counted by name too (`declined`).

Gate order: LSTM i f c o, torch's; GRU z r h against torch's r z n. Kernels are (in, G*H), to be
transposed. One bias is put on the input side; GRU(reset_after=True) has both. `go_backwards` walks
the flipped sequence and leaves the outputs so. A mask may have holes: the steps that count are
moved together, run with `lengths`, and spread out again; a step that does not count repeats the
output before it, or gives zeros if the layer asks for that.
"""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from typing import Any

import torch
from proof_subject import IS_CONTROL, cls
from torch.func import functional_call
from torch.nn.utils import rnn

computed: Counter[str] = Counter()
declined: Counter[str] = Counter()
_zero_output: ContextVar[bool] = ContextVar("zero_output_for_mask", default=False)


def install() -> None:
    """Inject both, for layers that exist already as well."""
    from keras.src import backend
    from keras.src.layers import GRU, LSTM

    backend.lstm, backend.gru = lstm, gru
    for layer in (LSTM, GRU):
        layer.inner_loop = _telling_of_zeros(layer.inner_loop)


def _telling_of_zeros(inner_loop: Any) -> Any:
    """The backend is not told of zero_output_for_mask; the layer knows."""

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        token = _zero_output.set(bool(self.zero_output_for_mask))
        try:
            return inner_loop(self, *args, **kwargs)
        finally:
            _zero_output.reset(token)

    return wrapped


def lstm(
    inputs: Any, initial_state_h: Any, initial_state_c: Any, mask: Any, kernel: Any,
    recurrent_kernel: Any, bias: Any, activation: Any, recurrent_activation: Any,
    return_sequences: bool = False, go_backwards: bool = False, unroll: bool = False,
    batch_first: bool = True,
) -> Any:  # fmt: skip
    """(last output, outputs, [h, c]); nothing is unrolled, for there is no graph to unroll."""
    _check(inputs, activation, recurrent_activation)
    if not batch_first:
        _decline("time-major inputs")
    weights = _transposed(kernel, recurrent_kernel)
    if bias is not None:
        weights["bias_ih_l0"] = _tensor(bias)
        weights["bias_hh_l0"] = torch.zeros_like(weights["bias_ih_l0"])
    found = _run("LSTM", inputs, (initial_state_h, initial_state_c), mask, weights, go_backwards)
    return _as_keras(*found, return_sequences)


def gru(
    inputs: Any, initial_state: Any, mask: Any, kernel: Any, recurrent_kernel: Any, bias: Any,
    activation: Any, recurrent_activation: Any, return_sequences: bool = False,
    go_backwards: bool = False, unroll: bool = False, reset_after: bool = True,
) -> Any:  # fmt: skip
    """(last output, outputs, [h])."""
    _check(inputs, activation, recurrent_activation)
    if not reset_after:
        _decline("GRU with reset_after=False")
    weights = {key: _reset_first(w) for key, w in _transposed(kernel, recurrent_kernel).items()}
    if bias is not None:
        both = _tensor(bias)
        weights["bias_ih_l0"], weights["bias_hh_l0"] = map(_reset_first, both)
    found = _run("GRU", inputs, (initial_state,), mask, weights, go_backwards)
    return _as_keras(*found, return_sequences)


def _decline(reason: str) -> None:
    declined[reason] += 1
    raise NotImplementedError(reason)


def _check(inputs: Any, activation: Any, recurrent_activation: Any) -> None:
    from keras.src import activations, ops

    if activation not in (activations.tanh, torch.tanh, ops.tanh):
        _decline("activation that is not tanh")
    if recurrent_activation not in (activations.sigmoid, torch.sigmoid, ops.sigmoid):
        _decline("recurrent activation that is not sigmoid")


def _tensor(value: Any) -> Any:
    from keras.src.backend.torch.core import convert_to_tensor

    return convert_to_tensor(value)


def _transposed(kernel: Any, recurrent_kernel: Any) -> dict[str, Any]:
    return {"weight_ih_l0": _tensor(kernel).T, "weight_hh_l0": _tensor(recurrent_kernel).T}


def _reset_first(stacked: Any) -> Any:
    """z r h -> r z n, along the rows."""
    z, r, h = stacked.chunk(3)
    return torch.cat([r, z, h])


def _run(
    name: str, inputs: Any, states: tuple[Any, ...], mask: Any, weights: Any, go_backwards: bool
) -> tuple[Any, Any]:
    """(outputs, final states) of a layer made for this call; its weights are the caller's."""
    kind = weights["weight_ih_l0"].dtype
    if weights["weight_ih_l0"].device.type == "meta":
        _decline("shapes without values")
    if kind not in (torch.float32, torch.float64):
        _decline(f"dtype {kind}")
    x = _tensor(inputs).to(kind)
    hidden, bias = weights["weight_hh_l0"].shape[1], "bias_ih_l0" in weights
    h = tuple(_tensor(state).to(kind).reshape(1, -1, hidden) for state in states)
    layer = cls(name)(x.shape[-1], hidden, bias=bias, batch_first=True, device="meta", dtype=kind)
    rows = None if mask is None else _tensor(mask).to(torch.bool)
    if go_backwards:
        x, rows = x.flip(1), None if rows is None else rows.flip(1)
    hx = h if name == "LSTM" else h[0]
    if rows is None:
        y, last = functional_call(layer, weights, (x, hx))
    else:
        y, last = _masked(layer, weights, x, hx, rows)
    computed[name] += 1
    return y, [part[0] for part in (last if isinstance(last, tuple) else (last,))]


def _masked(layer: Any, weights: Any, x: Any, hx: Any, rows: Any) -> tuple[Any, Any]:
    """Steps that count moved together, run, and their outputs spread out over all steps."""
    order = (~rows).to(torch.int8).argsort(dim=1, stable=True)
    together = x.gather(1, order[:, :, None].expand_as(x))
    lengths = rows.sum(1)
    y, last = _ragged(layer, weights, together, hx, lengths)
    place = rows.cumsum(1) - 1  # of the latest step that counted, -1 before the first
    spread = y.gather(1, place.clamp(min=0)[:, :, None].expand(-1, -1, y.shape[-1]))
    shown = rows if _zero_output.get() else place >= 0
    return torch.where(shown[:, :, None], spread, spread.new_zeros(())), last


def _ragged(layer: Any, weights: Any, x: Any, hx: Any, lengths: Any) -> tuple[Any, Any]:
    """Rows of these lengths; the control packs and pads, for torch.nn has no `lengths`."""
    if not IS_CONTROL:
        return functional_call(layer, weights, (x, hx), {"lengths": lengths})
    packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, last = functional_call(layer, weights, (packed, hx))
    return rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0], last


def _as_keras(y: Any, states: list[Any], return_sequences: bool) -> tuple[Any, Any, list[Any]]:
    last = y[:, -1]
    return last, y if return_sequences else last[:, None], states
