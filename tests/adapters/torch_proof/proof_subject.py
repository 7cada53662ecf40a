"""Whose classes are proven: fastrnn.torch's, or torch.nn's own as the control of the harness.

`FASTRNN_PROOF_SUBJECT=torch.nn python -m pytest tests/adapters/torch_proof` runs everything that
torch.nn itself can do through the same checks. What it cannot do is listed where it is tested, as
`beyond_torch`, so a failing check accuses the subject and not the harness.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

import pytest

LAYERS = ("RNN", "GRU", "LSTM")
CELLS = ("RNNCell", "GRUCell", "LSTMCell")
CONTROL = "torch.nn"
SUBJECT = os.environ.get("FASTRNN_PROOF_SUBJECT", "fastrnn.torch")
IS_CONTROL = SUBJECT == CONTROL


def subject() -> ModuleType:
    """The module that holds the six classes."""
    return importlib.import_module(SUBJECT)


def cls(name: str) -> Any:
    """The class under proof."""
    return getattr(subject(), name)


def torch_cls(name: str) -> Any:
    """torch's own class of that name."""
    return getattr(importlib.import_module("torch.nn"), name)


def convert(model: Any) -> Any:
    """The model with the subject's layers; the control leaves it as it is."""
    return model if IS_CONTROL else subject().convert(model)


def beyond_torch(what: str) -> pytest.MarkDecorator:
    """For a test of what torch.nn cannot do: it runs on the subject, the control leaves it out."""
    return pytest.mark.skipif(IS_CONTROL, reason=f"control: torch.nn has no {what}")
