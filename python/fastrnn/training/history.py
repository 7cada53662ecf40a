"""What a training run recorded, and its progress bar."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

from ._extras import require
from .plan import Plan, total_at

__all__ = ["History", "ProgressBar"]


@dataclass
class History:
    """The record of a run; ``fit`` returns it and checkpoints keep it.

    Attributes
    ----------
    train : list of dict
        One entry for every few steps: ``step``, ``epoch``, ``tokens`` (trained on so far),
        ``loss`` (mean over the steps since the entry before), ``lr``, ``grad_norm`` (of the last
        step, before clipping; None without norm clipping).
    validation : list of dict
        One entry per validation: ``step``, ``epoch``, ``tokens``, ``loss``.
    steps, tokens : int
        Done so far, resumed parts included. A token is an element that counts in the loss.
    seconds, train_seconds : float
        Wall time of the whole run, and of its training steps alone.
    plan : list of [int, int]
        ``[since, total]``: from step ``since`` on the run was bound for ``total`` steps. A run
        bounded by time adds entries as its speed changes; ``fit(plan=history.plan)`` does the
        same steps again, bit for bit.
    stop : str
        Why it ended: ``"done"``, ``"time"``, ``"patience"`` or ``"callback"``; empty while running.
    """

    train: list[dict[str, Any]] = field(default_factory=list)
    validation: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    plan: Plan = field(default_factory=list)
    stop: str = ""

    @property
    def planned(self) -> int | None:
        """Steps that the run is bound for; None before a timed run has measured its speed."""
        return total_at(self.plan, self.steps)

    @property
    def tokens_per_second(self) -> float:
        """Training speed, validation time not counted."""
        return self.tokens / self.train_seconds if self.train_seconds > 0 else 0.0

    @property
    def best(self) -> dict[str, Any] | None:
        """The validation entry of lowest loss, the first of equals; None without validation."""
        return min(self.validation, key=lambda entry: entry["loss"], default=None)

    def since_best(self) -> int:
        """How many validations came after the best one."""
        best = self.best
        return 0 if best is None else len(self.validation) - 1 - self.validation.index(best)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def _short(number: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"


class ProgressBar:
    """A tqdm bar over steps: loss, validation loss, tokens per second, time left.

    Parameters
    ----------
    show : bool
        False shows nothing and does not import tqdm.
    unit : str
        What a token is called (``"chars"``).
    """

    def __init__(self, show: bool, done: int, total: int | None, unit: str) -> None:
        self._bar: Any = None
        self._unit = unit
        self._loss = math.nan
        if show:
            tqdm = require("tqdm", "fit(progress=True)").tqdm
            self._bar = tqdm(
                total=total,
                initial=done,
                desc="training",
                unit="step",
                file=sys.stderr,
                dynamic_ncols=True,
                # A log file gets a line now and then, a terminal a live bar.
                mininterval=0.2 if sys.stderr.isatty() else 20.0,
                bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} steps "
                "[{elapsed}<{remaining}{postfix}]",
            )

    def step(self, loss: float, history: History, total: int | None) -> None:
        """One more step was done."""
        if self._bar is None:
            return
        # Smoothed for the eye only; the history holds plain means.
        self._loss = loss if math.isnan(self._loss) else 0.9 * self._loss + 0.1 * loss
        text = f"loss {self._loss:.3f}"
        if history.validation:
            text += f", validation {history.validation[-1]['loss']:.3f}"
        text += f", {_short(history.tokens_per_second)} {self._unit}/s"
        self._bar.total = total
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update()

    def write(self, text: str) -> None:
        """A line above the bar (on stderr), shown or not."""
        if self._bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
