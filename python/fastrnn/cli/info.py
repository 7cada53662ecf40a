"""``fastrnn info``."""

from __future__ import annotations

import argparse

__all__ = ["info"]


def info(arguments: argparse.Namespace) -> None:
    """Print what is installed and what it runs on."""
    import fastrnn

    print(fastrnn.info())
