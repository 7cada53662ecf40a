"""RNN, GRU and LSTM with the arguments, parameter names and shapes of torch.nn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._check import arity, numbers
from ._parameters import Rng
from ._recurrent import Recurrent

__all__ = ["GRU", "LSTM", "RNN"]

_CPU = "layers run on the CPU"


@arity.own_methods
class LSTM(Recurrent):
    """Long short-term memory, as torch.nn.LSTM (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        L; layer l reads the output of layer l-1.
    bias : bool
        Whether there are bias_ih and bias_hh.
    batch_first : bool
        x and y are (B, T, .) instead of (T, B, .). States are (L*D, B, H) all the same.
    dropout : float in [0, 1]
        Probability of zeroing an output of every layer but the last, in training.
    bidirectional : bool
        D = 2: a second direction runs from the end, y is their concatenation.
    proj_size : int
        0 alone; torch's projections of the output are not implemented.
    device : None or "cpu"
        For calls written for torch.
    dtype : float32 or float64
        Of parameters, inputs, states and results.
    rng : int, numpy.random.Generator, or what else `numpy.random.default_rng` takes
        Source of the initial parameters and of the module's own generator (dropout).

    Attributes
    ----------
    weight_ih_l0, weight_ih_l0_reverse, ... : (4*H, I), or (4*H, D*H) after layer 0
    weight_hh_l0, weight_hh_l0_reverse, ... : (4*H, H)
    bias_ih_l0, bias_hh_l0, ... : (4*H,)
        Rows in the order i, f, g, o; drawn from U(-1/sqrt(H), 1/sqrt(H)).

    Notes
    -----
    With ``pre = W_ih x + b_ih + W_hh h + b_hh`` for each gate::

        i, f, o = sigmoid(pre_i), sigmoid(pre_f), sigmoid(pre_o)    g = tanh(pre_g)
        c' = f * c + i * g                                          h' = o * tanh(c')

    Calling the module is inference (no dropout, nothing kept for gradients) and `forward` is
    training (dropout on, returns a tape for `backward`): there is no train() or eval().

    Calls from several threads at once are safe while nobody changes the parameters.

    Examples
    --------
    >>> import numpy as np, fastrnn
    >>> lstm = fastrnn.LSTM(3, 8, num_layers=2, bidirectional=True, rng=0)
    >>> x = np.random.default_rng(1).standard_normal((5, 2, 3), dtype=np.float32)
    >>> y, (h_n, c_n) = lstm(x)
    >>> y.shape, h_n.shape, c_n.shape
    ((5, 2, 16), (4, 2, 8), (4, 2, 8))
    >>> y, (h_n, c_n), tape = lstm.forward(x, lengths=[5, 3])
    >>> d_x, (d_h_0, d_c_0), grads = lstm.backward(tape, np.ones_like(y))
    >>> d_x.shape, grads["weight_hh_l1_reverse"].shape
    ((5, 2, 3), (32, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        device: Any = None,
        dtype: npt.DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        sizes = (input_size, hidden_size, num_layers)
        proj = (proj_size, (0,), "projections are not implemented, put a Linear behind")
        numbers.unsupported("LSTM", proj_size=proj, device=(device, (None, "cpu"), _CPU))
        super().__init__("lstm", *sizes, bias, batch_first, dropout, bidirectional, dtype, rng)


@arity.own_methods
class GRU(Recurrent):
    """Gated recurrent unit, as torch.nn.GRU (Cho et al. 2014; reset after the product).

    Parameters (but proj_size) and attributes are those of `LSTM`, with 3*H rows in the order
    r, z, n; the state is h alone, (L*D, B, H), not a tuple.

    Notes
    -----
    ::

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
        h' = (1 - z) * n + z * h

    Examples
    --------
    >>> import numpy as np, fastrnn
    >>> gru = fastrnn.GRU(3, 8, dtype=np.float64, rng=0)
    >>> y, h_n, tape = gru.forward(np.ones((5, 2, 3)), np.zeros((1, 2, 8)))
    >>> d_x, d_h_0, grads = gru.backward(tape, None, np.ones_like(h_n))
    >>> d_h_0.shape, list(grads)
    ((1, 2, 8), ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0'])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        device: Any = None,
        dtype: npt.DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        sizes = (input_size, hidden_size, num_layers)
        numbers.unsupported("GRU", device=(device, (None, "cpu"), _CPU))
        super().__init__("gru", *sizes, bias, batch_first, dropout, bidirectional, dtype, rng)


@arity.own_methods
class RNN(Recurrent):
    """Simple recurrent network, as torch.nn.RNN (Elman 1990).

    Parameters (but proj_size) and attributes are those of `LSTM`, with H rows, and `nonlinearity`,
    "tanh" or "relu", in fourth place; the state is h alone, (L*D, B, H), not a tuple.

    Notes
    -----
    ``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``, or relu in place of tanh.

    Examples
    --------
    >>> import numpy as np, fastrnn
    >>> rnn = fastrnn.RNN(3, 8, nonlinearity="relu", batch_first=True, rng=0)
    >>> y, h_n = rnn(np.ones((2, 5, 3), np.float32))
    >>> y.shape, h_n.shape
    ((2, 5, 8), (1, 2, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        device: Any = None,
        dtype: npt.DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        cell = numbers.nonlinearity("RNN", nonlinearity)
        sizes = (input_size, hidden_size, num_layers)
        numbers.unsupported("RNN", device=(device, (None, "cpu"), _CPU))
        super().__init__(cell, *sizes, bias, batch_first, dropout, bidirectional, dtype, rng)

    @property
    def nonlinearity(self) -> str:
        """The activation, "tanh" or "relu"."""
        return self._problem.cell.removeprefix("rnn_")

    def _options(self) -> dict[str, Any]:
        relu = {"nonlinearity": "relu"} if self.nonlinearity == "relu" else {}
        return relu | super()._options()
