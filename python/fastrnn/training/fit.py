"""``fit``: train a model on batches."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from .._check import numbers
from ._extras import require
from .checkpoint import Checkpoint
from .history import History, ProgressBar
from .loop import Batches, Loss, Run, epoch_batches
from .module import Module
from .optimizer import Optimizer
from .schedule import Schedule

__all__ = ["fit"]


def fit(
    model: Any,
    batches: Batches,
    loss: Loss,
    optimizer: Optimizer,
    *,
    steps: int | None = None,
    epochs: int | None = None,
    seconds: float | None = None,
    plan: Iterable[Sequence[int]] | None = None,
    schedule: Schedule | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    recompute: bool | int = False,
    validation: Batches | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    restore_best: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    extra: Mapping[str, Any] | None = None,
    resume: Checkpoint | None = None,
    callbacks: Sequence[Callable[[History, float], object]] = (),
    log_every: int = 10,
    progress: bool = True,
    unit: str = "tokens",
    blas_threads: int | None = None,
) -> History:
    """Train a model.

    Parameters
    ----------
    model : Sequential or recurrent layer
        What follows the recurrent contract of :mod:`fastrnn.training.module`.
    batches : callable or sequence
        ``batches(epoch)`` gives the batches of that epoch and ``len(batches)`` their number
        (:class:`TextStreams`, :class:`ArrayBatches`); or a sequence, the same in every epoch.
        A batch is a :class:`Batch` or a tuple ``(x, target)`` or ``(x, target, mask)``.
    loss : callable
        ``loss(output, target, mask) -> (mean, gradient)``: :func:`cross_entropy`, :func:`mse`,
        :func:`bernoulli` or another one.
    optimizer : Optimizer
        Over ``model.parameters()``, or some of them.
    steps, epochs, seconds, plan : int, int, float, list of (int, int)
        How long: exactly one of them, for the whole run including what was done before ``resume``.
        A run bounded by ``seconds`` measures its speed over its first 20 steps, plans as many
        steps as fit into the time, and plans again when the speed changes; when the machine slows
        down at the very end it stops at 1.1 times the seconds. ``plan`` takes the
        ``history.plan`` of such a run and repeats it, bit for bit.
    schedule : Schedule or None
        Learning rate of each step; None keeps ``optimizer.lr``.
    clip_norm, clip_value : float or None
        Gradient clipping; by value comes first.
    recompute : bool or int
        Train long windows in less memory and more time, with the same results: what
        ``LSTM.forward`` takes.
    validation : callable or sequence of batches, or None
        Evaluated before the first step, every ``validate_every`` steps and at the end.
    validate_every : int or None
        None is once an epoch. Checkpoints are written at the same steps.
    patience : int or None
        End after so many validations in a row without a lower loss.
    restore_best : bool
        Leave the model with the parameters of the best validation instead of the last ones. (A
        checkpoint file always holds the last ones.)
    checkpoint : path or None
        File to write; see :func:`save_checkpoint`.
    extra : mapping or None
        The caller's own JSON values for the checkpoint.
    resume : Checkpoint or None
        Continue a run: from :func:`load_checkpoint`, with everything else as in that run.
    callbacks : sequence of callable
        ``callback(history, loss)`` after each step; returning True ends the run.
    log_every : int
        Steps per entry of ``history.train``.
    progress : bool
        Show a bar on stderr; needs tqdm (extra ``demo``).
    unit : str
        What the bar calls a token.
    blas_threads : int or None
        Threads of NumPy's BLAS during the run, which does the products outside the recurrent
        layers; None leaves them alone. 1 is usually best: BLAS threads keep spinning for a while
        after each product and take the cores from the recurrent kernels (measured on 2 cores, an
        LSTM of 512: 131 ms a step with 2, 83 ms with 1). Needs threadpoolctl (extra ``demo``).

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        The arguments do not fit together, or a resumed run has done already what is asked.
    FloatingPointError
        A loss or gradient norm became NaN or infinite; the parameters are those of the step
        before.
    KeyboardInterrupt
        Ctrl-C: after the running step the checkpoint was written and a line on stderr said so. A
        second Ctrl-C interrupts at once, in the middle of a step. SIGTERM, unless the program
        handles it, saves in the same way and then ends the process.

    Notes
    -----
    Truncated back-propagation: the state that one batch returned enters the next one when that
    has ``carry``, and no gradient flows through it.

    The result is a function of the arguments: the same model, batches and plan give the same bits,
    with any number of threads of the kernels, also through a checkpoint in the middle.
    """
    if isinstance(model, Module):
        raise TypeError(
            f"fit: model is a {type(model).__name__}, expected a chain or a recurrent layer; "
            "pass Sequential(model)"
        )
    budget = {"steps": steps, "epochs": epochs, "seconds": seconds, "plan": plan}
    given = [name for name, value in budget.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            f"fit: got {given or 'none'} of steps, epochs, seconds and plan, expected exactly one"
        )
    for name, value in (("steps", steps), ("epochs", epochs)):
        if value is not None:
            numbers.integer("fit", name, value, 1)
    if (validate_every is None or epochs is not None) and not hasattr(batches, "__len__"):
        raise TypeError(
            "fit: batches has no len(), so an epoch has no known number of steps; give steps or "
            "seconds, and validate_every"
        )
    if seconds is not None and not 0 < seconds < math.inf:
        raise ValueError(f"fit: seconds is {seconds}, expected a positive number")
    if not callable(batches) and not len(batches):
        raise ValueError("fit: batches is empty, expected at least one batch")
    if validate_every is None:
        validate_every = max(1, len(batches))  # type: ignore[arg-type]
    for name, value in (("validate_every", validate_every), ("log_every", log_every)):
        if value < 1:
            raise ValueError(f"fit: {name} is {value}, expected a number of steps >= 1")
    if (patience is not None or restore_best) and validation is None:
        raise ValueError("fit: patience and restore_best need validation batches, got none")
    if restore_best and resume is not None:
        raise ValueError(
            "fit: restore_best cannot be combined with resume, because a checkpoint does not hold "
            "the best parameters so far"
        )

    options = {
        **budget,
        "schedule": schedule,
        "clip_norm": clip_norm,
        "clip_value": clip_value,
        "recompute": recompute,
        "validation": validation,
        "validate_every": validate_every,
        "patience": patience,
        "restore_best": restore_best,
        "checkpoint": checkpoint,
        "extra": extra,
        "log_every": log_every,
    }
    limits: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if blas_threads is not None:
        control = require("threadpoolctl", "fit(blas_threads=...)")
        limits = control.threadpool_limits(blas_threads, user_api="blas")

    run = Run(model, batches, loss, optimizer, options)
    if resume is not None:
        run.resume(resume)
    run.plan()
    bar = ProgressBar(progress, run.history.steps, run.history.planned, unit)
    try:
        with limits, run.interrupt:
            _train(run, bar, callbacks)
            if run.interrupt.requested:
                run.save()
                where = "nothing was saved, because fit got no checkpoint path"
                if checkpoint is not None:
                    where = f"saved {os.fspath(checkpoint)}"
                bar.write(f"{run.interrupt.word} after step {run.history.steps}: {where}")
                run.interrupt.deliver()
    finally:
        bar.close()
    if run.best is not None:
        model.load_state_dict(run.best)
    return run.history


def _train(run: Run, bar: ProgressBar, callbacks: Sequence[Callable[..., object]]) -> None:
    """Steps until there is a reason to stop, or Ctrl-C."""
    history = run.history
    before, started = history.seconds, time.perf_counter()
    mark = before
    stopped = False
    while True:
        empty = run.index == 0
        for batch in islice(epoch_batches(run.batches, run.epoch), run.index, None):
            empty = False
            reason = run.reason_to_stop(stopped)
            if history.steps % run.options["validate_every"] == 0 or reason:
                paused = time.perf_counter()
                run.validate()
                reason = reason or run.reason_to_stop(stopped)
                history.seconds = before + time.perf_counter() - started
                history.stop = reason
                if not run.interrupt.requested:
                    run.save()
                now = time.perf_counter()
                mark = before + now - started  # this time is not the next step's
                if run.pace is not None:
                    run.pace.pause = now - paused
            if reason or run.interrupt.requested:
                return
            value = run.step(batch)
            run.index += 1
            history.seconds = before + time.perf_counter() - started
            run.replan(history.seconds - mark)
            bar.step(value, history, history.planned)
            mark = history.seconds
            stopped = sum(callback(history, value) is True for callback in callbacks) > 0
        if empty:
            raise ValueError(f"fit: epoch {run.epoch} has no batches, expected at least one")
        run.epoch, run.index = run.epoch + 1, 0
