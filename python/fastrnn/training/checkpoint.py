"""Checkpoints: one safetensors file, replaced atomically, with a digest over all of it.

Layout of the file (https://huggingface.co/docs/safetensors): tensors ``model.<parameter>``,
``optimizer.<slot>.<parameter>`` and ``state.<number>`` (the carried recurrent state), and the
metadata ``format``, ``info`` (JSON: everything that is not an array) and ``digest``. Any
safetensors reader gets the weights out of it; nothing in it is ever executed (no pickle).

A write goes to a new file in the same folder, is flushed to the disk, and then takes the place of
the old file in one step; the folder is flushed last. Whenever the process or the machine stops,
the path holds the old checkpoint or the new one, whole. A process killed in the middle can leave
its temporary file, ``.<name>.<random>.tmp``, behind; it may be deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ._extras import require

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT = "fastrnn checkpoint 1"


def _digest(tensors: Mapping[str, np.ndarray], info: str) -> str:
    """BLAKE2b over the information and every tensor's name, dtype, shape and bytes."""
    found = hashlib.blake2b(info.encode(), digest_size=20)
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        found.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _replace_atomically(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``: temporary file, fsync, rename, fsync of the folder."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened, and the rename is journalled
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _flatten(state: Any, tensors: dict[str, np.ndarray]) -> Any:
    """Nested tuples of arrays and None as JSON: arrays become names in ``tensors``."""
    if state is None:
        return None
    if isinstance(state, tuple):
        return [_flatten(entry, tensors) for entry in state]
    name = f"state.{len([n for n in tensors if n.startswith('state.')])}"
    tensors[name] = np.asarray(state)
    return name


def _unflatten(shape: Any, tensors: Mapping[str, np.ndarray]) -> Any:
    if shape is None:
        return None
    if isinstance(shape, list):
        return tuple(_unflatten(entry, tensors) for entry in shape)
    return tensors[shape].copy()


@dataclass
class Checkpoint:
    """A checkpoint in memory.

    Attributes
    ----------
    model : dict of str to ndarray
        Parameters.
    optimizer : dict or None
        What ``optimizer.state_dict()`` gave.
    rng : dict of str to int
        What ``model.rng_state()`` gave.
    state : nested tuple of ndarray, or None
        The carried recurrent state.
    loop : dict
        Where the training loop stood (``fit`` reads and writes it).
    extra : dict
        The caller's own JSON values.
    path : str
        Where it was read from, for messages.
    """

    model: dict[str, np.ndarray]
    optimizer: dict[str, Any] | None = None
    rng: dict[str, int] = field(default_factory=dict)
    state: Any = None
    loop: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    path: str = ""

    def restore(self, model: Any, optimizer: Any | None = None) -> None:
        """Put everything back into a model and an optimizer built with the same arguments.

        Raises
        ------
        ValueError
            The checkpoint is of another model or another optimizer.
        """
        parameters = model.parameters()
        for name, array in parameters.items():
            saved = self.model.get(name)
            if saved is None or saved.shape != array.shape or saved.dtype != array.dtype:
                found = "nothing" if saved is None else f"{saved.dtype} {saved.shape}"
                raise ValueError(
                    f"{self.path or 'checkpoint'} is of another model: it has {found} for {name}, "
                    f"expected {array.dtype} {array.shape}; build the model with the saved sizes"
                )
        further = sorted(set(self.model) - set(parameters))
        if further:
            raise ValueError(
                f"{self.path or 'checkpoint'} is of another model: it also has {further}; build "
                "the model with the saved sizes"
            )
        if optimizer is not None:
            if self.optimizer is None:
                raise ValueError(
                    f"{self.path or 'checkpoint'} has no optimizer state; training cannot resume"
                )
            optimizer.load_state_dict(self.optimizer)
        model.load_state_dict(self.model)
        if hasattr(model, "set_rng_state"):
            model.set_rng_state(self.rng)


def save_checkpoint(
    path: str | os.PathLike[str],
    model: Any,
    optimizer: Any | None = None,
    *,
    state: Any = None,
    loop: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint, replacing the file at ``path`` atomically.

    Parameters
    ----------
    path : path
        Its folder must exist.
    model : Sequential, Module or recurrent layer
        Its parameters and, if it has any, its random-number state are saved.
    optimizer : Optimizer or None
    state : nested tuple of arrays or None
        The carried recurrent state.
    loop, extra : mapping
        JSON values: the loop's position, and the caller's own.

    Raises
    ------
    OSError
        The folder is missing, not writable or full; the old file is untouched.
    ImportError
        safetensors is not installed (extra ``demo``).
    """
    numpy_format = require("safetensors.numpy", "save_checkpoint")
    tensors = {f"model.{name}": array for name, array in model.parameters().items()}
    info: dict[str, Any] = {"loop": dict(loop or {}), "extra": dict(extra or {})}
    info["rng"] = model.rng_state() if hasattr(model, "rng_state") else {}
    info["optimizer"] = None
    if optimizer is not None:
        values = optimizer.state_dict()
        for slot, arrays in values.pop("state").items():
            tensors.update({f"optimizer.{slot}.{name}": a for name, a in arrays.items()})
            values.setdefault("slots", []).append(slot)
        info["optimizer"] = values
    info["state"] = _flatten(state, tensors)
    text = json.dumps(info, allow_nan=False)
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    metadata = {"format": FORMAT, "info": text, "digest": _digest(tensors, text)}
    _replace_atomically(Path(path).resolve(), numpy_format.save(tensors, metadata))


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    path : path

    Returns
    -------
    Checkpoint
        Bit for bit what was saved.

    Raises
    ------
    ValueError
        The file is no safetensors file, is truncated or damaged, or is no checkpoint of fastrnn.
    OSError
        It cannot be read.
    ImportError
        safetensors is not installed (extra ``demo``).

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> from fastrnn.training import Linear, load_checkpoint, save_checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(os.path.join(folder, "a.safetensors"), Linear(2, 1, rng=0))
    ...     checkpoint = load_checkpoint(os.path.join(folder, "a.safetensors"))
    >>> sorted(checkpoint.model)
    ['bias', 'weight']
    """
    numpy_format = require("safetensors.numpy", "load_checkpoint")
    safetensors = require("safetensors", "load_checkpoint")
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"load_checkpoint: {os.fspath(path)} does not exist, expected a file that "
            "save_checkpoint or fastrnn train wrote"
        ) from error
    try:
        tensors = numpy_format.load(data)
        (length,) = struct.unpack("<Q", data[:8])
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, struct.error) as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({len(data)} bytes; {error}); it is "
            "truncated, damaged or of another format"
        ) from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a safetensors file of format {metadata.get('format')!r}, "
            f"expected {FORMAT!r}; neither fastrnn train nor save_checkpoint wrote it"
        )
    text = metadata.get("info", "")
    if metadata.get("digest") != _digest(tensors, text):
        raise ValueError(
            f"{path} is damaged: its contents do not match its digest; use another copy"
        )
    info = json.loads(text)

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {n[len(prefix) :]: a for n, a in tensors.items() if n.startswith(prefix)}

    optimizer = info["optimizer"]
    if optimizer is not None:
        slots = optimizer.pop("slots", [])
        optimizer["state"] = {slot: part(f"optimizer.{slot}.") for slot in slots}
    return Checkpoint(
        model=part("model."),
        optimizer=optimizer,
        rng=info["rng"],
        state=_unflatten(info["state"], tensors),
        loop=info["loop"],
        extra=info["extra"],
        path=str(path),
    )
