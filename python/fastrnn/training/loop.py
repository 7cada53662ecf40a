"""The parts of the training loop: a step, a validation, a save, the plan, the reasons to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .batches import Batch
from .checkpoint import Checkpoint, save_checkpoint
from .clip import clip_grad_norm, clip_grad_value
from .history import History
from .interrupt import DeferredInterrupt
from .losses import count
from .optimizer import Optimizer
from .plan import BudgetError, Pace, Plan, changed, checked, total_at
from .schedule import Constant, Schedule

__all__ = ["Batches", "Loss", "Run", "evaluate"]

Loss = Callable[..., tuple[float, np.ndarray]]
Batches = Callable[[int], Iterator[Batch]] | Sequence[Any]


def epoch_batches(batches: Batches, number: int) -> Iterator[Batch]:
    items = batches(number) if callable(batches) else iter(batches)
    return (item if isinstance(item, Batch) else Batch(*item) for item in items)


def _arguments(batch: Batch, state: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"state": state if batch.carry else None}
    if batch.lengths is not None:
        given["lengths"] = batch.lengths
    return given


def evaluate(
    model: Any, batches: Batches, loss: Loss, *, stop: Callable[[], bool] | None = None
) -> float:
    """Mean loss in inference: no dropout, nothing learned.

    Parameters
    ----------
    model : Sequential or recurrent layer
    batches : callable or sequence
        As for :func:`fit`; a callable is asked for epoch 0.
    loss : callable
        ``loss(output, target, mask) -> (mean, gradient)``.
    stop : callable or None
        Asked before each batch; True gives up and returns NaN.

    Returns
    -------
    float
        Mean over the elements that count in all batches; NaN when there are none.
    """
    total, weight, state = 0.0, 0, None
    for batch in epoch_batches(batches, 0):
        if stop is not None and stop():
            return math.nan
        y, state = model(batch.x, **_arguments(batch, state))
        mean, _ = loss(y, batch.target, batch.mask)
        n = count(np.shape(batch.target), batch.mask)
        total += mean * n
        weight += n
    return total / weight if weight else math.nan


class Run:
    """One call of fit: where the loop stands, and what a step, a validation, a save do."""

    def __init__(
        self,
        model: Any,
        batches: Batches,
        loss: Loss,
        optimizer: Optimizer,
        options: dict[str, Any],
    ) -> None:
        self.model, self.batches, self.loss, self.optimizer = model, batches, loss, optimizer
        self.schedule: Schedule = options["schedule"] or Constant(optimizer.lr)
        self.options = options
        self.history = History()
        self.epoch = self.index = 0
        self.state: Any = None
        self.sum = [0.0, 0]  # loss * n and n since the last entry of history.train
        self.grad_norm: float | None = None
        self.best: dict[str, np.ndarray] | None = None
        seconds = options["seconds"]
        self.pace = None if seconds is None else Pace(seconds, options["validate_every"])
        self.interrupt = DeferredInterrupt()

    def resume(self, checkpoint: Checkpoint) -> None:
        """Put model, optimizer and position back to where the checkpoint was taken."""
        loop = checkpoint.loop
        if "history" not in loop:
            raise ValueError(
                f"fit: {checkpoint.path or 'the checkpoint'} holds no training loop to resume"
            )
        checkpoint.restore(self.model, self.optimizer)
        self.history = History(**{**loop["history"], "stop": ""})
        self.epoch, self.index = loop["epoch"], loop["index"]
        self.sum, self.grad_norm = list(loop["sum"]), loop["grad_norm"]
        self.state = checkpoint.state
        if loop["schedule"] is not None and hasattr(self.schedule, "load_state_dict"):
            self.schedule.load_state_dict(loop["schedule"])
        self._plan_on(checkpoint.path or "the checkpoint", loop["seconds"])

    def _plan_on(self, name: str, planned_seconds: float | None) -> None:
        """The plan of a resumed run: the old one, or from here on another."""
        history, seconds = self.history, self.options["seconds"]
        if self.pace is not None:
            if seconds != planned_seconds and seconds <= history.seconds:
                raise BudgetError(
                    f"fit: seconds is {seconds:g}, but {name} has trained for "
                    f"{history.seconds:.1f} s; the time counts from the first start, give more"
                )
            if history.steps and (seconds != planned_seconds or not history.plan):
                mean = history.seconds / history.steps
                total = self.pace.total(mean, history.seconds, history.steps)
                history.plan = changed(history.plan, history.steps, total)
            return
        total = self.given_plan()[-1][1]
        if total < history.steps:
            raise BudgetError(
                f"fit: the plan is for {total} steps, but {name} has done {history.steps}; the "
                "steps count from the first start, give more"
            )

    def save(self) -> None:
        """Write the checkpoint, if one is wanted."""
        path = self.options["checkpoint"]
        if path is None:
            return
        schedule = getattr(self.schedule, "state_dict", None)
        loop = {
            "epoch": self.epoch,
            "index": self.index,
            "sum": self.sum,
            "grad_norm": self.grad_norm,
            "seconds": self.options["seconds"],
            "schedule": None if schedule is None else schedule(),
            "history": self.history.to_dict(),
        }
        save_checkpoint(
            path,
            self.model,
            self.optimizer,
            state=self.state,
            loop=loop,
            extra=self.options["extra"],
        )

    def given_plan(self) -> Plan:
        """What steps, epochs or plan say; empty for a run bounded by time."""
        options = self.options
        if options["plan"] is not None:
            return checked(options["plan"])
        if options["epochs"] is not None:
            return [[0, options["epochs"] * len(self.batches)]]  # type: ignore[arg-type]
        return [] if options["steps"] is None else [[0, options["steps"]]]

    def plan(self) -> None:
        """Before the first step: follow the plan that was given, from the step that is next."""
        given, history = self.given_plan(), self.history
        now = total_at(given, history.steps)
        if now is not None:
            history.plan = changed(history.plan, history.steps, now)
        for since, total in given:
            if since > history.steps:
                history.plan = changed(history.plan, since, total)

    def replan(self, took: float) -> None:
        """After a step of ``took`` seconds: plan a run bounded by time (again)."""
        history = self.history
        if self.pace is not None:
            planned = history.planned
            total = self.pace.estimate(took, history.seconds, history.steps, planned)
            if total is not None:
                history.plan = changed(history.plan, history.steps, total)

    def step(self, batch: Batch) -> float:
        """Learn from one batch; the loss before learning."""
        history, options = self.history, self.options
        started = time.perf_counter()
        given = _arguments(batch, self.state)
        if options["recompute"] is not False:
            given["recompute"] = options["recompute"]
        y, state, tape = self.model.forward(batch.x, **given)
        loss, d_y = self.loss(y, batch.target, batch.mask)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"fit: the loss is {loss} at step {history.steps}; lower the learning rate, clip "
                "the gradient norm or look for bad values in the data"
            )
        grads = self.model.backward(tape, d_y)[-1]
        if options["clip_value"] is not None:
            clip_grad_value(grads, options["clip_value"])
        clip = options["clip_norm"]
        norm = clip_grad_norm(grads, math.inf if clip is None else clip)
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"fit: the gradient norm is {norm} at step {history.steps}; lower the learning rate"
            )
        self.grad_norm = None if clip is None else norm
        self.optimizer.lr = self.schedule(history.steps, history.planned)
        self.optimizer.step(grads)
        self.state = state
        n = count(np.shape(batch.target), batch.mask)
        took = time.perf_counter() - started
        history.steps += 1
        history.tokens += n
        history.train_seconds += took
        self.sum = [self.sum[0] + loss * n, self.sum[1] + n]
        if history.steps % options["log_every"] == 0 and self.sum[1]:
            history.train.append(
                {
                    "step": history.steps,
                    "epoch": self.epoch,
                    "tokens": history.tokens,
                    "loss": self.sum[0] / self.sum[1],
                    "lr": self.optimizer.lr,
                    "grad_norm": self.grad_norm,
                }
            )
            self.sum = [0.0, 0]
        return loss

    def validate(self) -> None:
        """Validation loss of the current step into the history, unless it is there already.

        Nothing when Ctrl-C came in between: a resumed run does it then.
        """
        done = self.history.validation
        if self.options["validation"] is None or (done and done[-1]["step"] == self.history.steps):
            return
        loss = evaluate(
            self.model, self.options["validation"], self.loss, stop=lambda: self.interrupt.requested
        )
        if self.interrupt.requested:
            return
        if not math.isfinite(loss):
            raise FloatingPointError(f"fit: the validation loss is {loss}; lower the learning rate")
        history = self.history
        history.validation.append(
            {
                "step": history.steps,
                "epoch": self.epoch,
                "tokens": history.tokens,
                "loss": loss,
            }
        )
        if hasattr(self.schedule, "observe"):
            self.schedule.observe(loss)
        if self.options["restore_best"] and history.since_best() == 0:
            self.best = self.model.state_dict()

    def reason_to_stop(self, stopped_by_callback: bool) -> str:
        """``History.stop``, or an empty string to go on."""
        history, options = self.history, self.options
        if history.planned is not None and history.steps >= history.planned:
            return "done"
        # The plan ends a timed run; the limit is for a machine that became slower since.
        if options["seconds"] is not None and history.seconds > 1.1 * options["seconds"]:
            return "time"
        if options["patience"] is not None and history.since_best() >= options["patience"]:
            return "patience"
        return "callback" if stopped_by_callback else ""
