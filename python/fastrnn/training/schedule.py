"""Learning-rate schedules: objects called as ``schedule(step, total)`` -> learning rate.

``step`` counts optimizer steps from 0; ``total`` is the planned number of steps, or None while it
is not known (a run bounded by time has no total before its speed was measured).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

__all__ = ["Constant", "Cosine", "ReduceOnPlateau", "Schedule", "Step"]


class Schedule(Protocol):
    """What ``fit`` calls before every step."""

    def __call__(self, step: int, total: int | None) -> float: ...


def _check_rate(owner: str, lr: float) -> float:
    if not (lr >= 0 and math.isfinite(lr)):
        raise ValueError(f"{owner}: lr is {lr}, expected a finite number >= 0")
    return float(lr)


class Constant:
    """Always ``lr``.

    >>> from fastrnn.training import Constant
    >>> Constant(0.1)(5, None)
    0.1
    """

    def __init__(self, lr: float) -> None:
        self.lr = _check_rate("Constant", lr)

    def __call__(self, step: int, total: int | None = None) -> float:
        """Learning rate of ``step``."""
        return self.lr


class Cosine:
    """Linear warm-up, then half a cosine from ``lr`` to ``floor`` at the last step.

    Parameters
    ----------
    lr : float
        The peak.
    warmup : int
        Step ``s < warmup`` has ``lr * (s + 1) / warmup``.
    floor : float
        The rate at the end.
    warmup_share : float
        The warm-up takes at most this share of ``total``: a short run spends its steps learning.

    Notes
    -----
    ``floor + (lr - floor) * (1 + cos(pi * (s - warmup) / (total - warmup))) / 2``
    (Loshchilov and Hutter, SGDR, ICLR 2017, without restarts).

    >>> from fastrnn.training import Cosine
    >>> rate = Cosine(1.0, warmup=2)
    >>> [round(rate(s, 6), 3) for s in range(7)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    def __init__(
        self, lr: float, warmup: int = 0, floor: float = 0.0, warmup_share: float = 1.0
    ) -> None:
        self.lr = _check_rate("Cosine", lr)
        self.floor = _check_rate("Cosine", floor)
        if warmup < 0:
            raise ValueError(f"Cosine: warmup is {warmup}, expected a number of steps >= 0")
        if not 0 <= warmup_share <= 1:
            raise ValueError(f"Cosine: warmup_share is {warmup_share}, expected a number in [0, 1]")
        self.warmup, self.warmup_share = int(warmup), float(warmup_share)

    def __call__(self, step: int, total: int | None = None) -> float:
        """Learning rate of ``step``; ValueError past the warm-up when ``total`` is None."""
        warmup = self.warmup
        if total is not None:
            warmup = min(warmup, int(self.warmup_share * total))
        if step < warmup:
            return self.lr * (step + 1) / warmup
        if total is None:
            raise ValueError(
                f"Cosine: step {step} lies after the warm-up of {self.warmup} and total is None; "
                "give the number of steps, or a longer warm-up when training for a time"
            )
        done = min(1.0, (step - warmup) / max(1, total - warmup))
        return self.floor + (self.lr - self.floor) * (1.0 + math.cos(math.pi * done)) / 2.0


class Step:
    """``lr * factor**(step // every)``.

    >>> from fastrnn.training import Step
    >>> rate = Step(1.0, every=10, factor=0.5)
    >>> rate(9), rate(10), rate(25)
    (1.0, 0.5, 0.25)
    """

    def __init__(self, lr: float, every: int, factor: float = 0.1) -> None:
        self.lr = _check_rate("Step", lr)
        if every < 1:
            raise ValueError(f"Step: every is {every}, expected a number of steps >= 1")
        self.every, self.factor = int(every), _check_rate("Step", factor)

    def __call__(self, step: int, total: int | None = None) -> float:
        """Learning rate of ``step``."""
        return self.lr * self.factor ** (step // self.every)


class ReduceOnPlateau:
    """Multiply the rate by ``factor`` when the validation loss has stopped falling.

    Parameters
    ----------
    lr : float
    factor : float
        In (0, 1).
    patience : int
        How many validations in a row may pass without a better loss; the next one reduces.
    threshold : float
        A loss is better when it is below ``best * (1 - threshold)`` (PyTorch's ``rel`` mode).
    floor : float

    >>> from fastrnn.training import ReduceOnPlateau
    >>> rate = ReduceOnPlateau(1.0, factor=0.5, patience=1)
    >>> for loss in (3.0, 3.0, 3.0):
    ...     rate.observe(loss)
    >>> rate(0)
    0.5
    """

    def __init__(
        self,
        lr: float,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        floor: float = 0.0,
    ) -> None:
        self.lr = _check_rate("ReduceOnPlateau", lr)
        if not 0 < factor < 1:
            raise ValueError(f"ReduceOnPlateau: factor is {factor}, expected a number in (0, 1)")
        if patience < 0:
            raise ValueError(f"ReduceOnPlateau: patience is {patience}, expected >= 0")
        self.factor, self.patience = float(factor), int(patience)
        self.threshold = _check_rate("ReduceOnPlateau", threshold)
        self.floor = _check_rate("ReduceOnPlateau", floor)
        self.best, self.waited = math.inf, 0

    def __call__(self, step: int, total: int | None = None) -> float:
        """The current learning rate."""
        return self.lr

    def observe(self, loss: float) -> None:
        """Take a validation loss (``fit`` does after each validation)."""
        limit = self.best * (1.0 - self.threshold) if math.isfinite(self.best) else self.best
        if loss < limit:
            self.best, self.waited = float(loss), 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.lr = max(self.floor, self.lr * self.factor)
            self.waited = 0

    def state_dict(self) -> dict[str, Any]:
        """Numbers by name, for a checkpoint."""
        # JSON has no infinity: before the first validation there is no best loss.
        best = self.best if math.isfinite(self.best) else None
        return {"lr": self.lr, "best": best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.lr, self.waited = float(state["lr"]), int(state["waited"])
        self.best = math.inf if state["best"] is None else float(state["best"])
