"""The character model of ``fastrnn train``: built from its settings, opened from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import fastrnn
from fastrnn.training import (
    Checkpoint,
    Dropout,
    Embedding,
    Linear,
    Sequential,
    Vocabulary,
    load_checkpoint,
)

from .errors import CommandError, read_bytes

__all__ = ["build_model", "describe", "open_checkpoint", "set_threads"]

PROGRAM = "fastrnn train"


def build_model(settings: Mapping[str, Any], vocabulary_size: int) -> Sequential:
    """Embedding, recurrent layers, dropout, linear layer to one logit per character.

    Parameters
    ----------
    settings : mapping
        ``cell``, ``hidden``, ``layers``, ``embedding``, ``dropout``, ``seed``.
    vocabulary_size : int

    Raises
    ------
    CommandError
        The layers do not fit into memory.

    Notes
    -----
    Each piece draws from its own stream of the seed. An LSTM starts with a bias of 1 on its forget
    gate (Jozefowicz, Zaremba and Sutskever, ICML 2015), so that it remembers before it has learned
    what to forget.
    """
    seed, hidden, layers = settings["seed"], settings["hidden"], settings["layers"]

    def stream(number: int) -> np.random.Generator:
        return np.random.default_rng([seed, number])

    cell = {"lstm": fastrnn.LSTM, "gru": fastrnn.GRU, "rnn": fastrnn.RNN}[settings["cell"]]
    between = settings["dropout"] if layers > 1 else 0.0
    try:
        rnn = cell(settings["embedding"], hidden, layers, dropout=between, rng=stream(1))
    except ValueError as error:  # more parameters than this machine has memory for
        raise CommandError(str(error)) from None
    if settings["cell"] == "lstm":
        for layer in range(layers):
            getattr(rnn, f"bias_ih_l{layer}")[hidden : 2 * hidden] += 1
    return Sequential(
        embedding=Embedding(vocabulary_size, settings["embedding"], rng=stream(0)),
        rnn=rnn,
        dropout=Dropout(settings["dropout"], seed=int(stream(2).integers(2**63))),
        head=Linear(hidden, vocabulary_size, rng=stream(3)),
    )


def describe(settings: Mapping[str, Any], model: Sequential) -> str:
    """One line about the model."""
    layers = settings["layers"]
    size = sum(array.size for array in model.parameters().values())
    return (
        f"{settings['cell'].upper()}, {layers} layer{'s' * (layers > 1)} of {settings['hidden']} "
        f"over an embedding of {settings['embedding']}: {size:,} parameters"
    )


def open_checkpoint(path: str) -> tuple[Checkpoint, Sequential, Vocabulary]:
    """The checkpoint, its model with the saved parameters, and its vocabulary."""
    read_bytes(path, "a checkpoint of fastrnn train")
    try:
        checkpoint = load_checkpoint(path)
    except ValueError as error:
        raise CommandError(str(error)) from None
    extra = checkpoint.extra
    if extra.get("program") != PROGRAM:
        raise CommandError(
            f"{path} is a checkpoint of another program, expected one that fastrnn train wrote"
        )
    vocabulary = Vocabulary(extra["vocabulary"])
    model = build_model(extra["settings"], len(vocabulary))
    try:
        checkpoint.restore(model)
    except ValueError as error:
        raise CommandError(str(error)) from None
    return checkpoint, model, vocabulary


def set_threads(number: int | None) -> None:
    """``--threads``; None leaves the default, all that this process may use."""
    if number is not None:
        fastrnn.set_num_threads(number)
