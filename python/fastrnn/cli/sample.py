"""``fastrnn sample``."""

from __future__ import annotations

import argparse
import sys

from fastrnn.training import Vocabulary, generate

from .errors import CommandError
from .language_model import open_checkpoint, set_threads

__all__ = ["default_prompt", "sample"]


def default_prompt(vocabulary: Vocabulary) -> str:
    """A new line where the text has lines, else its first character."""
    return "\n" if "\n" in vocabulary.characters else vocabulary.characters[0]


def sample(arguments: argparse.Namespace) -> None:
    """Write text to stdout, character by character, as it is drawn."""
    set_threads(arguments.threads)
    _, model, vocabulary = open_checkpoint(arguments.checkpoint)
    prompt = arguments.prompt
    if prompt is None:
        prompt = default_prompt(vocabulary)
    if not prompt:
        raise CommandError("--prompt is empty, expected at least one character")
    strange = vocabulary.unknown(prompt)
    if strange:
        raise CommandError(
            f"--prompt holds {strange!r}, which the model's text did not; it knows "
            f"{vocabulary.characters!r}"
        )
    if arguments.prompt is not None:
        _write(prompt)
    for character in generate(
        model,
        vocabulary,
        prompt,
        length=arguments.length,
        temperature=arguments.temperature,
        rng=arguments.seed,
    ):
        _write(character)
    _write("\n")


def _write(text: str) -> None:
    """To stdout at once; what its encoding cannot express is shown as a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()
