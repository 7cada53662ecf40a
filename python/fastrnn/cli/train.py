"""``fastrnn train``."""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastrnn
from fastrnn.training import (
    Adam,
    Checkpoint,
    Cosine,
    History,
    Sequential,
    TextStreams,
    TextWindows,
    Vocabulary,
    cross_entropy,
    fit,
    generate,
    markov_losses,
    plot_losses,
    split_text,
)
from fastrnn.training._extras import require
from fastrnn.training.plan import BudgetError, total_at

from .corpus import Corpus, load_corpus
from .errors import CommandError, writable_folder
from .language_model import PROGRAM, build_model, describe, open_checkpoint, set_threads
from .parser import TRAINING_DEFAULTS
from .reference_speed import reference_speed
from .sample import default_prompt

__all__ = ["train"]

ORDERS = 4
# Counting takes seconds and gigabytes beyond this; the newest part of a longer text is counted.
MARKOV_CHARACTERS = 10_000_000
WARMUP, WARMUP_SHARE = 50, 0.1
# Below this share of a core the reference was timed on a busy machine.
BUSY = 0.85
# A second moment over the last hundred steps: a short run has no thousand to average over.
BETAS = (0.9, 0.99)


@dataclass
class Run:
    """What is being trained, on what, into which folder."""

    settings: dict[str, Any]
    corpus: Corpus
    vocabulary: Vocabulary
    model: Sequential
    folder: Path
    checkpoint: Checkpoint | None = None

    def __post_init__(self) -> None:
        self.ids = self.vocabulary.encode(self.corpus.text)
        self.start = split_text(self.ids.size, self.settings["validation"])

    def streams(self) -> TextStreams:
        """The training part."""
        s = self.settings
        ids = self.ids[: self.start]
        return TextStreams(ids, s["batch"], s["length"], s["segment"], s["seed"])

    @property
    def path(self) -> Path:
        """The checkpoint to write."""
        return self.folder / "model.safetensors"


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
    losses = _report_data(run)
    history = _fit(run, arguments, losses)
    _report_training(run, history, losses)
    _report_speed(run, history)
    _write_picture(run, history, losses)
    _write_sample(run, arguments)
    files = ", ".join(str(run.folder / f) for f in ("model.safetensors", "loss.png", "sample.txt"))
    _say("written", files)


def _say(name: str, text: str) -> None:
    print(f"{name:<11} {text}", flush=True)


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
        _say("kept", f"the model of an earlier run is now {earlier}")
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
        _say(
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


def _report_data(run: Run) -> dict[str, float]:
    """Print facts about text and model; the losses of the Markov chains by label."""
    total, size = run.ids.size, len(run.vocabulary)
    if run.corpus.message:
        _say("note", run.corpus.message)
    _say("text", run.corpus.name)
    _say(
        "characters",
        f"{total:,} ({size - 1} different): {run.start:,} to train, the last "
        f"{total - run.start:,} to validate",
    )
    skipped = max(0, run.start - MARKOV_CHARACTERS)
    if skipped:
        _say("note", f"Markov chains count the last {MARKOV_CHARACTERS:,} training characters only")
    chains = markov_losses(run.ids[skipped:], run.start - skipped, size, ORDERS)
    print("\nMarkov chains (Witten-Bell smoothing), validation loss in nats per character:")
    for order in range(1, ORDERS + 1):
        print(f"  order {order}   {chains[order]:.4f}")
    print()
    _say("model", describe(run.settings, run.model))
    facts = fastrnn.info()
    _say("engine", f"fastrnn {facts['version']}, {facts['isa']}, {facts['threads']} threads")
    return {f"Markov order {order}": chains[order] for order in range(1, ORDERS + 1)}


def _budget(run: Run, arguments: argparse.Namespace) -> dict[str, Any]:
    given = {k: getattr(arguments, k) for k in ("seconds", "epochs", "steps", "plan")}
    if not any(given.values()):
        kept = run.checkpoint.extra["budget"] if run.checkpoint else {"seconds": 180.0}
        given.update(kept)
    return {k: v for k, v in given.items() if v is not None}


def _schedule(settings: dict[str, Any]) -> Cosine:
    return Cosine(settings["lr"], warmup=WARMUP, warmup_share=WARMUP_SHARE)


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
            schedule=_schedule(settings),
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


def _report_training(run: Run, history: History, losses: dict[str, float]) -> None:
    epochs = history.tokens / run.start
    repeat = f"the same bits again with {_recipe(run, history)}"
    if history.stop != "done":
        repeat = f"stopped at {history.steps} of {history.planned} steps, out of time"
    _say(
        "trained",
        f"{history.tokens:,} characters ({epochs:.1f} epochs, {history.steps:,} steps) in "
        f"{history.seconds:.1f} s; {repeat}",
    )
    print("\nvalidation loss in nats per character:")
    for name, loss in losses.items():
        print(f"  {name:<16} {loss:.4f}")
    own, best_chain = history.validation[-1]["loss"], min(losses.values())
    word = "below" if own < best_chain else "above"
    print(f"  {'this model':<16} {own:.4f}   {abs(own - best_chain):.4f} {word} the best chain\n")
    if own >= best_chain or history.stop != "done":
        more = math.ceil(3 * history.seconds)
        _say("hint", f"train longer: fastrnn train --resume {run.path} --seconds {more}")


def _recipe(run: Run, history: History) -> str:
    """The budget that repeats this run: its number of steps, if they had that number's rates."""
    rate, plan, steps = _schedule(run.settings), history.plan, range(history.steps)
    if all(rate(s, total_at(plan, s)) == rate(s, history.steps) for s in steps):
        return f"--steps {history.steps}"
    return "--plan " + ",".join(f"{since}:{total}" for since, total in plan)


def _report_speed(run: Run, history: History) -> None:
    settings = run.settings
    window = next(run.streams()(0))
    own = history.tokens_per_second
    _say(
        "speed",
        f"{own:,.0f} characters/s in training; the same step with the NumPy reference, "
        "BLAS with 1 thread:",
    )
    for dtype in ("float32", "float64"):
        found = reference_speed(run.model, settings["cell"], window, dtype)
        busy = ""
        if found.core < BUSY:
            busy = f" (too high: the machine is busy, the reference had {found.core:.0%} of a core)"
        other = found.characters
        _say("", f"{other:,.0f} characters/s in {dtype}, {own / other:.1f} times slower{busy}")


def _write_picture(run: Run, history: History, losses: dict[str, float]) -> None:
    name = os.path.basename(run.corpus.name.partition(":")[0])
    plot_losses(
        history,
        run.folder / "loss.png",
        baselines=losses,
        title=f"{describe(run.settings, run.model).partition(':')[0]}, on {name}",
    )


def _write_sample(run: Run, arguments: argparse.Namespace) -> None:
    drawn = "".join(
        generate(
            run.model,
            run.vocabulary,
            default_prompt(run.vocabulary),
            length=arguments.sample,
            temperature=arguments.temperature,
            rng=run.settings["seed"],
        )
    )
    (run.folder / "sample.txt").write_text(drawn + "\n", encoding="utf-8")
    rule = "-" * 72
    print(f"\nsample (temperature {arguments.temperature:g}):\n{rule}")
    encoding = sys.stdout.encoding or "utf-8"
    print(drawn.encode(encoding, "replace").decode(encoding))
    print(f"{rule}\n")
