"""Drop-in replacements for torch.nn's recurrent modules, over the engine's kernels.

>>> import torch, fastrnn.torch
>>> lstm = fastrnn.torch.LSTM(32, 64, num_layers=2)      # torch.nn.LSTM, one import changed
>>> y, (h_n, c_n) = lstm(torch.randn(10, 4, 32))
>>> y.square().mean().backward()
>>> model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.GRU(32, 64))
>>> fastrnn.torch.convert(model)[1]                      # the same Parameters, in place
GRU(32, 64)

Importing this package imports torch; nothing else of fastrnn does. What the kernels do not take
(projections, some devices and dtypes) runs as torch.nn runs it; `explain` says which and why.
"""

from __future__ import annotations

try:
    import torch as _torch
except ImportError as error:
    raise ImportError(
        "fastrnn.torch: torch could not be imported; install it with pip install 'fastrnn[torch]'"
    ) from error

from ._cells import GRUCell, LSTMCell, RNNCell
from ._convert import convert, revert
from ._explain import explain
from ._modules import GRU, LSTM, RNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "convert",
    "explain",
    "revert",
]

del _torch
