"""A stack of recurrent layers, and backpropagation through it (BPTT)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .arguments import CELLS, checked, group_parameters
from .direction import scan_backward, scan_forward
from .philox import dropout_mask
from .tape import Tape


def forward(
    cell: str,
    params: list[np.ndarray],
    x: np.ndarray,
    h_0: np.ndarray | None = None,
    c_0: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    num_layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    dropout: float = 0.0,
    seed: int = 0,
    training: bool = False,
    dtype: npt.DTypeLike = np.float64,
    batch_first: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Tape]:
    """Run a stack of recurrent layers over a sequence.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn_tanh", "rnn_relu", "linear"}
    params : list of arrays
        For each layer, for each direction: weight_ih (G*H, I), weight_hh (G*H, H) and, with
        `bias`, bias_ih (G*H,), bias_hh (G*H,). G is the cell's gate count; I is D*H above layer 0.
    x : (T, B, I), or (B, T, I) with batch_first
    h_0, c_0 : (L*D, B, H), optional
        Initial states, index ``layer*D + direction``; zeros by default. c_0 for the LSTM only.
    lengths : (B,) int, optional
        Steps of each row, in [0, T], in any order; T by default.
    num_layers, bidirectional, bias, batch_first
        As in torch.nn.
    dropout, seed : float, int
        In training the output of every layer but the last goes through `dropout_mask`.
    dtype : float64 or float32
        Arithmetic of the loop; everything is converted to it first.

    Returns
    -------
    y : (T, B, D*H), or (B, T, D*H) with batch_first
        Outputs of the last layer, forward then reverse direction; 0 past a row's end.
    h_n, c_n : (L*D, B, H)
        States at each row's true end (its initial state if the length is 0); c_n is None for
        cells with one state.
    tape : Tape

    Raises
    ------
    ValueError
        If an argument does not fit the others.

    Examples
    --------
    A linear cell with unit weights adds up its input:

    >>> one, none = np.ones((1, 1)), np.zeros(1)
    >>> y, h_n, c_n, tape = forward("linear", [one, one, none, none], [[[1.0]], [[2.0]], [[3.0]]])
    >>> y[:, 0, 0].tolist(), c_n
    ([1.0, 3.0, 6.0], None)
    >>> backward(tape, np.ones((3, 1, 1)))[0][:, 0, 0].tolist()
    [3.0, 2.0, 1.0]
    """
    D = 2 if bidirectional else 1
    x = np.asarray(x, dtype)
    x = x.swapaxes(0, 1) if batch_first else x
    weights = group_parameters(cell, params, num_layers, D, bias, x.dtype)
    lengths, states = checked(cell, weights, x, h_0, c_0, lengths)
    (T, B, _), H = x.shape, weights[0][1].shape[1]

    y, all_steps, masks = x, [], []
    for layer in range(num_layers):
        mask = None
        if training and layer > 0 and dropout > 0:
            mask = dropout_mask(0, y.size, layer, dropout, seed, x.dtype).reshape(y.shape)
        layer_input = y if mask is None else y * mask
        y = np.zeros((T, B, D * H), x.dtype)
        for direction in range(D):
            scan, half = layer * D + direction, slice(direction * H, (direction + 1) * H)
            state = [s[scan] for s in states]  # views: the scan leaves the final state in place
            y[..., half], steps = scan_forward(
                CELLS[cell], weights[scan], layer_input, state, lengths, reverse=direction == 1
            )
            all_steps.append(steps)
        masks.append(mask)

    tape = Tape(CELLS[cell], D, bias, batch_first, x.shape, weights, all_steps, masks)
    y = y.swapaxes(0, 1).copy() if batch_first else y
    return y, states[0], states[1] if len(states) > 1 else None, tape


def backward(
    tape: Tape,
    d_y: np.ndarray | None = None,
    d_h_n: np.ndarray | None = None,
    d_c_n: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, list[np.ndarray]]:
    """Backpropagation through time: the gradients of `forward`.

    Parameters
    ----------
    tape : Tape
    d_y : shape of y, optional
    d_h_n, d_c_n : (L*D, B, H), optional
        Gradients arriving at the outputs; None means zero. d_y past a row's end is ignored.

    Returns
    -------
    d_x : shape of x
        0 past a row's end.
    d_h_0, d_c_0 : (L*D, B, H)
        d_c_0 is None for cells with one state.
    grads : list of arrays
        One for each entry of params, in that order.
    """
    (T, B, _), D, dtype = tape.x_shape, tape.num_directions, tape.weights[0][0].dtype
    H = tape.weights[0][1].shape[1]
    d_out = np.zeros((T, B, D * H), dtype)
    if d_y is not None:
        d_out[...] = np.swapaxes(d_y, 0, 1) if tape.batch_first else d_y
    d_states = [np.zeros((len(tape.weights), B, H), dtype) for _ in range(tape.cell.states)]
    for zero, given in zip(d_states, (d_h_n, d_c_n), strict=False):
        zero[...] = 0 if given is None else given

    grads: list[list[np.ndarray]] = []
    for layer in reversed(range(len(tape.masks))):
        d_in = np.zeros((T, B, tape.weights[layer * D][0].shape[1]), dtype)
        layer_grads: list[np.ndarray] = []
        for direction in range(D):
            scan, half = layer * D + direction, slice(direction * H, (direction + 1) * H)
            d_state = [d[scan] for d in d_states]  # views: left holding d_h_0, d_c_0
            d_input, d_weights = scan_backward(
                tape.cell, tape.weights[scan], tape.steps[scan], d_out[..., half], d_state
            )
            d_in += d_input
            layer_grads += d_weights if tape.bias else d_weights[:2]
        mask = tape.masks[layer]
        d_out = d_in if mask is None else d_in * mask
        grads.insert(0, layer_grads)

    d_x = d_out.swapaxes(0, 1).copy() if tape.batch_first else d_out
    d_c_0 = d_states[1] if len(d_states) > 1 else None
    return d_x, d_states[0], d_c_0, [grad for layer_grads in grads for grad in layer_grads]
