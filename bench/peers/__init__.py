"""The peers: one file each, one subclass of :class:`bench.peers.base.Peer` in it.

A file placed here is found by its name; a file elsewhere is given by its path
(``--peers ./my_layer.py``). Nothing else lists the peers.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from pathlib import Path

from bench.peers.base import Peer


def peer_names() -> list[str]:
    """Names of the peers in this folder: fastrnn's first, the others in alphabetical order."""
    found = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "base"]
    return sorted(found, key=lambda name: (not name.startswith("fastrnn"), name))


def load_peer(name_or_path: str) -> type[Peer]:
    """Import a peer by its name, or by the path of its ``.py`` file.

    Raises
    ------
    ValueError
        When there is no such peer, or the file does not define exactly one Peer.
    """
    if name_or_path.endswith(".py"):
        path = Path(name_or_path)
        if not path.is_file():
            raise ValueError(f"bench: peer file {name_or_path!r} does not exist")
        spec = importlib.util.spec_from_file_location(f"bench_peer_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ValueError(f"bench: peer file {name_or_path!r} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    elif name_or_path in peer_names():
        module = importlib.import_module(f"{__name__}.{name_or_path}")
    else:
        raise ValueError(
            f"bench: peer is {name_or_path!r}, expected one of {', '.join(peer_names())} "
            "or the path of a .py file"
        )
    classes = [
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, Peer) and value.__module__ == module.__name__  # defined, not imported
    ]
    if len(classes) != 1:
        raise ValueError(
            f"bench: peer {name_or_path!r} defines {len(classes)} subclasses of Peer, expected 1"
        )
    return classes[0]
