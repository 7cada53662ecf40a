"""Loading the compiled engine."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

# libgomp's idle workers spin 300,000 pauses before they sleep: 16 ms of a core on a recent server,
# after every call, taken from whoever else runs there and paid back by the scheduler in whole
# ticks. 8,000 pauses still bridge the gap between two calls in a loop, also where a pause is short.
_SPIN = ("GOMP_SPINCOUNT", "8000")


def refuses_setting(error: ImportError) -> bool:
    """Whether the engine is sound, and refuses an environment variable: the message says all."""
    return str(error).startswith("fastrnn: FASTRNN_")


def load_engine() -> ModuleType:
    """Import ``fastrnn._core``; its OpenMP runtime, if not loaded yet, gets a bounded spin.

    libgomp reads the variable once, while it is loaded; the environment is left as it was. The
    user's own ``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY`` wins.
    """
    name, value = _SPIN
    if name in os.environ or "OMP_WAIT_POLICY" in os.environ:
        return importlib.import_module("fastrnn._core")
    os.environ[name] = value
    try:
        return importlib.import_module("fastrnn._core")
    finally:
        del os.environ[name]
