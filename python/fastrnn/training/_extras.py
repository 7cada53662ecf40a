"""Imports of the packages that training can use and the core does not need."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["require"]


def require(module: str, purpose: str) -> ModuleType:
    """Import ``module``, or say in one sentence how to get it.

    Raises
    ------
    ImportError
        The package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ImportError(
            f"{purpose} needs {package}, which is not installed; run: pip install 'fastrnn[demo]'",
            name=error.name,
        ) from error
