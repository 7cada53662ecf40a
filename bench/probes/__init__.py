"""Probes: single questions that a run does not answer, one file each.

A probe has ``run(probing) -> rows``, what was measured, and ``section(rows)``, how it is shown.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

_NOT_PROBES = ("base", "block_peer")


def probe_names() -> list[str]:
    """Names for the command line."""
    found = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(name.replace("_", "-") for name in found if name not in _NOT_PROBES)


def load_probe(name: str) -> ModuleType:
    """The module of a probe.

    Raises
    ------
    ValueError
        When there is none of that name.
    """
    if name not in probe_names():
        raise ValueError(f"bench: probe is {name!r}, expected one of {', '.join(probe_names())}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
