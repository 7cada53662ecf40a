"""``fastrnn train``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from fastrnn.training import (
    Adam,
    History,
    TextWindows,
    Vocabulary,
    cross_entropy,
    fit,
    split_text,
)
from fastrnn.training._extras import require
from fastrnn.training.plan import BudgetError

from .corpus import load_corpus
from .errors import CommandError, writable_folder
from .language_model import PROGRAM, build_model, open_checkpoint, set_threads
from .parser import TRAINING_DEFAULTS
from .report import (
    report_data,
    report_speed,
    report_training,
    say,
    write_picture,
    write_sample,
)
from .run import Run

__all__ = ["train"]

# A second moment over the last hundred steps: a short run has no thousand to average over.
BETAS = (0.9, 0.99)


def train(arguments: argparse.Namespace) -> None:
    """Train, and write model.safetensors, loss.png and sample.txt."""
    # Before hours are spent: everything that the end needs is there.
    for package in (
        "safetensors",
        "matplotlib",
        "threadpoolctl",
        *([] if arguments.quiet else ["tqdm"]),
    ):
        require(package, "fastrnn train")
    set_threads(arguments.threads)
    run = _resumed(arguments) if arguments.resume else _fresh(arguments)
    losses = report_data(run)
    history = _fit(run, arguments, losses)
    report_training(run, history, losses)
    report_speed(run, history)
    write_picture(run, history, losses)
    write_sample(run, arguments)
    files = ", ".join(str(run.folder / f) for f in ("model.safetensors", "loss.png", "sample.txt"))
    say("written", files)


def _fresh(arguments: argparse.Namespace) -> Run:
    corpus = load_corpus(arguments.file)
    given = {k: getattr(arguments, k) for k in TRAINING_DEFAULTS}
    settings = {k: d if given[k] is None else given[k] for k, d in TRAINING_DEFAULTS.items()}
    size = split_text(len(corpus.text), settings["validation"])
    _fit_window(settings, size)
    vocabulary = Vocabulary.build(corpus.text[:size])
    folder = writable_folder(arguments.out or "fastrnn-run")
    model = build_model(settings, len(vocabulary))
    run = Run(settings, corpus, vocabulary, model, folder)
    if run.path.exists():
        earlier = run.path.with_suffix(".previous.safetensors")
        os.replace(run.path, earlier)
        say("kept", f"the model of an earlier run is now {earlier}")
    return run


def _fit_window(settings: dict[str, Any], size: int) -> None:
    """Make batch, length and segment smaller where the training text is too short for them."""
    batch, length = settings["batch"], settings["length"]
    if (batch + 1) * length > size:
        settings["length"] = max(1, min(length, size // 8))
        settings["batch"] = max(1, min(batch, size // settings["length"] - 1))
        if (settings["batch"] + 1) * settings["length"] > size:
            raise CommandError(
                f"the training part has {size} characters, expected at least 2; give a longer "
                "text or a smaller --validation"
            )
        say(
            "short text",
            f"batch {batch} -> {settings['batch']}, length {length} -> {settings['length']}",
        )
    windows = (size - settings["length"]) // settings["length"]
    settings["segment"] = min(settings["segment"], windows // settings["batch"])


def _resumed(arguments: argparse.Namespace) -> Run:
    checkpoint, model, vocabulary = open_checkpoint(arguments.resume)
    settings = checkpoint.extra["settings"]
    for name, value in settings.items():
        given = getattr(arguments, name, None)
        if given is not None and given != value:
            raise CommandError(
                f"--{name} {given} differs from {value} in {arguments.resume}; leave it out to "
                "resume, or start anew without --resume"
            )
    text = checkpoint.extra["text"]
    corpus = load_corpus(arguments.file or text["path"])
    if corpus.digest != text["digest"]:
        raise CommandError(
            f"the text {corpus.name} is not the one that {arguments.resume} was trained on "
            f"({text['name']}, {text['characters']:,} characters)"
        )
    folder = writable_folder(arguments.out or str(Path(arguments.resume).parent))
    return Run(settings, corpus, vocabulary, model, folder, checkpoint)


def _budget(run: Run, arguments: argparse.Namespace) -> dict[str, Any]:
    given = {k: getattr(arguments, k) for k in ("seconds", "epochs", "steps", "plan")}
    if not any(given.values()):
        kept = run.checkpoint.extra["budget"] if run.checkpoint else {"seconds": 180.0}
        given.update(kept)
    return {k: v for k, v in given.items() if v is not None}


def _fit(run: Run, arguments: argparse.Namespace, losses: dict[str, float]) -> History:
    settings, text = run.settings, run.corpus
    budget = _budget(run, arguments)
    optimizer = Adam(run.model.parameters(), betas=BETAS)
    extra: dict[str, Any] = {
        "program": PROGRAM,
        "settings": settings,
        "budget": budget,
        "vocabulary": run.vocabulary.characters,
        "text": {
            "name": text.name,
            "path": text.path,
            "digest": text.digest,
            "characters": len(text.text),
        },
        "baselines": losses,
    }
    try:
        return fit(
            run.model,
            run.streams(),
            cross_entropy,
            optimizer,
            **budget,
            schedule=run.schedule(),
            clip_norm=settings["clip"],
            validation=TextWindows(run.ids, run.start),
            checkpoint=run.path,
            extra=extra,
            resume=run.checkpoint,
            progress=not arguments.quiet,
            unit="chars",
            blas_threads=1,
        )
    except BudgetError as error:
        raise CommandError(str(error).removeprefix("fit: ")) from None
    except KeyboardInterrupt:
        print(f"go on with: fastrnn train --resume {run.path}", file=sys.stderr)
        raise
