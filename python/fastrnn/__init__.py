"""Recurrent networks (LSTM, GRU, RNN) for NumPy with fused CPU kernels and exact BPTT.

>>> import numpy as np, fastrnn as fr
>>> lstm = fr.LSTM(32, 64, num_layers=2, rng=0)          # torch.nn's arguments and parameter names
>>> x = np.zeros((10, 4, 32), np.float32)                # (T, B, I)
>>> y, (h_n, c_n) = lstm(x)                              # inference
>>> y, (h_n, c_n), tape = lstm.forward(x)                # training: the tape is for backward
>>> d_x, (d_h_0, d_c_0), grads = lstm.backward(tape, np.ones_like(y))
>>> sorted(grads)[:2]
['bias_hh_l0', 'bias_hh_l1']

Not to be confused with Microsoft's FastRNN cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._engine import load_engine, refuses_setting

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Stepper",
    "__version__",
    "explain",
    "functional",
    "get_num_threads",
    "info",
    "reference",
    "set_num_threads",
    "training",
]

_SUBMODULES = ("functional", "reference", "training")  # imported when first used

# The reference needs no engine and must stay usable without one, to judge it; so a broken engine
# is reported by the first name that needs it instead of by `import fastrnn`.
_broken: ImportError | None = None
try:
    load_engine()
    from .cells import GRUCell, LSTMCell, RNNCell
    from .config import explain, get_num_threads, info, set_num_threads
    from .layers import GRU, LSTM, RNN
    from .stepper import Stepper
except ImportError as error:
    _broken = error

if TYPE_CHECKING:
    from . import functional, reference, training

    __version__: str


def __getattr__(name: str) -> Any:
    import importlib
    import importlib.metadata

    if name == "__version__":
        try:
            return importlib.metadata.version("fastrnn")
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            return "0+uninstalled"
    if name not in __all__:
        raise AttributeError(f"module 'fastrnn' has no attribute {name!r}")
    if _broken is not None and name not in ("reference", "training"):
        if refuses_setting(_broken):
            raise ImportError(str(_broken)) from None
        raise ImportError(
            f"fastrnn: the compiled engine fastrnn._core could not be loaded ({_broken}); "
            f"install the package with 'pip install .' and do not import it from its source folder"
        ) from _broken
    return importlib.import_module(f"fastrnn.{name}")


def __dir__() -> list[str]:
    return __all__
