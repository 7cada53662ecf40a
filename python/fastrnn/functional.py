"""LSTM, GRU and RNN as pure functions: explicit parameters, explicit state, explicit backward.

Nothing is remembered between calls. The parameters are packed for the kernels at every call; the
modules of `fastrnn.layers` keep the packed form while the weights stay the same. One step of a
cell is the same function on ``x[None]``.

Sizes: T steps, B rows, I inputs, H hidden units, L layers, D directions (2 if bidirectional),
G gates (LSTM 4, GRU 3, RNN 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from . import _scan
from ._check import numbers
from ._scan import Grads, Tape

__all__ = [
    "Tape",
    "gru",
    "gru_backward",
    "lstm",
    "lstm_backward",
    "rnn",
    "rnn_backward",
]

Array = npt.NDArray[Any]
Params = Mapping[str, Array] | list[Array] | tuple[Array, ...]


def lstm(
    x: Array,
    params: Params,
    state: tuple[Array | None, Array | None] | None = None,
    *,
    lengths: npt.ArrayLike | None = None,
    num_layers: int = 1,
    bidirectional: bool = False,
    batch_first: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
    training: bool = False,
    recompute: bool | int = False,
) -> tuple[Array, tuple[Array, Array], Tape | None]:
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000).

    Parameters
    ----------
    x : (T, B, I) float32 or float64
        Input; (B, T, I) if `batch_first`; (T, I) for one sequence without a batch axis. Any
        strides, byte order and alignment. The dtype is that of the parameters.
    params : dict or list
        Arrays by torch.nn's names (``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``,
        ``bias_hh_l0``, ``weight_ih_l0_reverse``, ...), or a list of them in that order. Weights
        are (4*H, inputs) with rows i, f, g, o; biases are (4*H,), all or none.
    state : (h_0, c_0), each (L*D, B, H), optional
        Initial state, (L*D, H) for x without batch axis; None is zeros.
    lengths : (B,) integers in [0, T], optional
        Steps of each row, in any order. Past its end a row's output is 0; its final state is the
        one at its end, and the reverse direction starts there.
    num_layers : int
        L.
    bidirectional : bool
        Run a second direction from the end; y is their concatenation.
    batch_first : bool
        Layout of x and y. States are (L*D, B, H) all the same.
    dropout : float in [0, 1]
        Probability of zeroing an output of every layer but the last, when training.
    seed : int in [0, 2**64)
        Key of the dropout masks: the same seed gives the same masks on every machine.
    training : bool
        Keep what backward needs.
    recompute : bool or int
        When training, trade time for memory: keep states at the borders of segments of time alone,
        and the inputs of the layers above the first; backward runs each segment forward again.
        True lets the engine pick the segments with which memory is least, about sqrt(T) steps; an
        int is their length in steps, rounded up to whole pieces of the weight gradients' sums. No
        result changes by a bit.

    Returns
    -------
    y : (T, B, D*H), dtype of x
        Hidden states of the last layer, in the layout of x.
    state : (h_n, c_n), each (L*D, B, H)
        Final states, index layer*D + direction.
    tape : Tape or None
        For `lstm_backward`; None unless `training`.

    Raises
    ------
    ValueError
        A shape or value does not fit.
    TypeError
        An argument has the wrong type or dtype.

    Notes
    -----
    With ``pre = W_ih x + b_ih + W_hh h + b_hh`` for each gate::

        i, f, o = sigmoid(pre_i), sigmoid(pre_f), sigmoid(pre_o)    g = tanh(pre_g)
        c' = f * c + i * g                                          h' = o * tanh(c')

    Examples
    --------
    >>> import numpy as np, fastrnn.functional as F
    >>> rng = np.random.default_rng(0)
    >>> params = [rng.standard_normal(shape) for shape in ((32, 3), (32, 8), (32,), (32,))]
    >>> y, (h_n, c_n), tape = F.lstm(rng.standard_normal((5, 2, 3)), params, training=True)
    >>> y.shape, h_n.shape, bool((y[-1] == h_n[0]).all())
    ((5, 2, 8), (1, 2, 8), True)
    """
    stack = (num_layers, bidirectional, batch_first, dropout)
    return _scan.forward_once(
        "lstm", "lstm", x, params, state, lengths, seed, training, recompute, *stack
    )


def gru(
    x: Array,
    params: Params,
    state: Array | None = None,
    *,
    lengths: npt.ArrayLike | None = None,
    num_layers: int = 1,
    bidirectional: bool = False,
    batch_first: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
    training: bool = False,
    recompute: bool | int = False,
) -> tuple[Array, Array, Tape | None]:
    """Gated recurrent unit (Cho et al. 2014), reset after the product as in torch and cuDNN.

    Arguments, results and errors are those of `lstm`, except that weights have 3*H rows (r, z, n)
    and the state is h alone, (L*D, B, H), not a tuple.

    Notes
    -----
    ::

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
        h' = (1 - z) * n + z * h

    Examples
    --------
    >>> import numpy as np, fastrnn.functional as F
    >>> rng = np.random.default_rng(0)
    >>> params = [rng.standard_normal(shape) for shape in ((24, 3), (24, 8), (24,), (24,))]
    >>> y, h_n, tape = F.gru(rng.standard_normal((5, 2, 3)), params, np.ones((1, 2, 8)))
    >>> y.shape, h_n.shape, tape is None
    ((5, 2, 8), (1, 2, 8), True)
    """
    stack = (num_layers, bidirectional, batch_first, dropout)
    return _scan.forward_once(
        "gru", "gru", x, params, state, lengths, seed, training, recompute, *stack
    )


def rnn(
    x: Array,
    params: Params,
    state: Array | None = None,
    *,
    nonlinearity: str = "tanh",
    lengths: npt.ArrayLike | None = None,
    num_layers: int = 1,
    bidirectional: bool = False,
    batch_first: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
    training: bool = False,
    recompute: bool | int = False,
) -> tuple[Array, Array, Tape | None]:
    """Simple recurrent network (Elman 1990).

    Arguments, results and errors are those of `lstm`, except that weights have H rows, the state
    is h alone, (L*D, B, H), and `nonlinearity` is "tanh" or "relu".

    Notes
    -----
    ``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``, or relu in place of tanh.

    Examples
    --------
    >>> import numpy as np, fastrnn.functional as F
    >>> params = {"weight_ih_l0": np.eye(2), "weight_hh_l0": np.eye(2)}
    >>> y, h_n, _ = F.rnn(np.ones((3, 1, 2)), params, nonlinearity="relu")
    >>> y[:, 0, 0].tolist()
    [1.0, 2.0, 3.0]
    """
    cell = numbers.nonlinearity("rnn", nonlinearity)
    stack = (num_layers, bidirectional, batch_first, dropout)
    return _scan.forward_once(
        "rnn", cell, x, params, state, lengths, seed, training, recompute, *stack
    )


def lstm_backward(
    tape: Tape,
    d_y: Array | None = None,
    d_state: tuple[Array | None, Array | None] | None = None,
) -> tuple[Array, tuple[Array, Array], Grads]:
    """Back-propagation through time for a call of `lstm` (Werbos 1990).

    Parameters
    ----------
    tape : Tape
        From ``lstm(..., training=True)``. It is not used up.
    d_y : shape and dtype of y, optional
        Gradient of the loss by y; None is zero.
    d_state : (d_h_n, d_c_n), each (L*D, B, H), optional
        Gradients by the final states; None, for both or for one, is zero.

    Returns
    -------
    d_x : shape of x
    d_state_0 : (d_h_0, d_c_0), each (L*D, B, H)
        Gradients by the initial states, zeros or not.
    grads : dict or list, like `params`
        Gradient of each parameter, in its shape.

    Raises
    ------
    ValueError
        The tape is of another cell, or a gradient has the wrong shape.
    TypeError
        `tape` is no tape, or a gradient has the wrong type or dtype.

    Examples
    --------
    >>> import numpy as np, fastrnn.functional as F
    >>> rng = np.random.default_rng(0)
    >>> params = [rng.standard_normal(shape) for shape in ((32, 3), (32, 8), (32,), (32,))]
    >>> y, state, tape = F.lstm(rng.standard_normal((5, 2, 3)), params, training=True)
    >>> d_x, (d_h_0, d_c_0), grads = F.lstm_backward(tape, np.ones_like(y))
    >>> d_x.shape, d_h_0.shape, [g.shape for g in grads]
    ((5, 2, 3), (1, 2, 8), [(32, 3), (32, 8), (32,), (32,)])
    """
    return _scan.backward("lstm_backward", tape, d_y, d_state, cells=("lstm",))


def gru_backward(
    tape: Tape, d_y: Array | None = None, d_state: Array | None = None
) -> tuple[Array, Array, Grads]:
    """Back-propagation through time for a call of `gru`; see `lstm_backward`.

    `d_state` and the returned `d_state_0` are one array, (L*D, B, H).

    Examples
    --------
    >>> import numpy as np, fastrnn.functional as F
    >>> params = {"weight_ih_l0": np.ones((6, 1)), "weight_hh_l0": np.ones((6, 2))}
    >>> y, h_n, tape = F.gru(np.ones((4, 3, 1)), params, training=True)
    >>> d_x, d_h_0, grads = F.gru_backward(tape, None, np.ones_like(h_n))
    >>> d_h_0.shape, sorted(grads)
    ((1, 3, 2), ['weight_hh_l0', 'weight_ih_l0'])
    """
    return _scan.backward("gru_backward", tape, d_y, d_state, cells=("gru",))


def rnn_backward(
    tape: Tape, d_y: Array | None = None, d_state: Array | None = None
) -> tuple[Array, Array, Grads]:
    """Back-propagation through time for a call of `rnn`; see `lstm_backward`.

    `d_state` and the returned `d_state_0` are one array, (L*D, B, H).

    Examples
    --------
    >>> import numpy as np, fastrnn.functional as F
    >>> params = {"weight_ih_l0": np.eye(2), "weight_hh_l0": np.eye(2)}
    >>> y, h_n, tape = F.rnn(np.ones((3, 1, 2)), params, nonlinearity="relu", training=True)
    >>> F.rnn_backward(tape, np.ones_like(y))[0][:, 0, 0].tolist()
    [3.0, 2.0, 1.0]
    """
    return _scan.backward("rnn_backward", tape, d_y, d_state, cells=("rnn_tanh", "rnn_relu"))
