"""What ``fastrnn train`` prints and draws: about the text, the training, the speed; a sample."""

from __future__ import annotations

import argparse
import math
import os
import sys

import fastrnn
from fastrnn.training import History, generate, markov_losses, plot_losses
from fastrnn.training.plan import total_at

from .language_model import describe
from .reference_speed import reference_speed
from .run import Run
from .sample import default_prompt

__all__ = [
    "report_data",
    "report_speed",
    "report_training",
    "say",
    "write_picture",
    "write_sample",
]

ORDERS = 4
# Counting takes seconds and gigabytes beyond this; the newest part of a longer text is counted.
MARKOV_CHARACTERS = 10_000_000
# Below this share of a core the reference was timed on a busy machine.
BUSY = 0.85


def say(name: str, text: str) -> None:
    """A line of the report."""
    print(f"{name:<11} {text}", flush=True)


def report_data(run: Run) -> dict[str, float]:
    """Print facts about text and model; the losses of the Markov chains by label."""
    total, size = run.ids.size, len(run.vocabulary)
    if run.corpus.message:
        say("note", run.corpus.message)
    say("text", run.corpus.name)
    say(
        "characters",
        f"{total:,} ({size - 1} different): {run.start:,} to train, the last "
        f"{total - run.start:,} to validate",
    )
    skipped = max(0, run.start - MARKOV_CHARACTERS)
    if skipped:
        say("note", f"Markov chains count the last {MARKOV_CHARACTERS:,} training characters only")
    chains = markov_losses(run.ids[skipped:], run.start - skipped, size, ORDERS)
    print("\nMarkov chains (Witten-Bell smoothing), validation loss in nats per character:")
    for order in range(1, ORDERS + 1):
        print(f"  order {order}   {chains[order]:.4f}")
    print()
    say("model", describe(run.settings, run.model))
    facts = fastrnn.info()
    say("engine", f"fastrnn {facts['version']}, {facts['isa']}, {facts['threads']} threads")
    return {f"Markov order {order}": chains[order] for order in range(1, ORDERS + 1)}


def report_training(run: Run, history: History, losses: dict[str, float]) -> None:
    epochs = history.tokens / run.start
    repeat = f"the same bits again with {_recipe(run, history)}"
    if history.stop != "done":
        repeat = f"stopped at {history.steps} of {history.planned} steps, out of time"
    say(
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
        say("hint", f"train longer: fastrnn train --resume {run.path} --seconds {more}")


def _recipe(run: Run, history: History) -> str:
    """The budget that repeats this run: its number of steps, if they had that number's rates."""
    rate, plan, steps = run.schedule(), history.plan, range(history.steps)
    if all(rate(s, total_at(plan, s)) == rate(s, history.steps) for s in steps):
        return f"--steps {history.steps}"
    return "--plan " + ",".join(f"{since}:{total}" for since, total in plan)


def report_speed(run: Run, history: History) -> None:
    settings = run.settings
    window = next(run.streams()(0))
    own = history.tokens_per_second
    say(
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
        say("", f"{other:,.0f} characters/s in {dtype}, {own / other:.1f} times slower{busy}")


def write_picture(run: Run, history: History, losses: dict[str, float]) -> None:
    name = os.path.basename(run.corpus.name.partition(":")[0])
    plot_losses(
        history,
        run.folder / "loss.png",
        baselines=losses,
        title=f"{describe(run.settings, run.model).partition(':')[0]}, on {name}",
    )


def write_sample(run: Run, arguments: argparse.Namespace) -> None:
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
