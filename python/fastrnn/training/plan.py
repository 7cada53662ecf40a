"""The plan of a run: how many steps it is bound for, from which step on (docs/decisions/0014).

A plan is a list of ``[since, total]`` in ascending order of ``since``: from step ``since`` on the
learning-rate schedule is asked with ``total``. A run of N steps has the plan ``[[0, N]]``. A run
bounded by time measures its speed, and writes another entry whenever another number of steps fits
into its time. The plan is all that the clock decides: the same plan gives the same bits.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["BudgetError", "Pace", "Plan", "changed", "checked", "total_at"]

Plan = list[list[int]]

# The first estimate: the median of these steps, after a few that warm caches and clocks.
_WARM_STEPS, _MEASURED_STEPS = 5, 15
# Later ones: the mean of all steps in each sixteenth of the time, at least three of them.
_LOOKS, _FEWEST = 16, 3
# A plan that ends this close to the time stands: a change moves the learning rate for nothing.
_TOLERATED = 0.02


class BudgetError(ValueError):
    """A resumed run has done already what it is asked to do."""


def total_at(plan: Sequence[Sequence[int]], step: int) -> int | None:
    """The total that holds at ``step``; None before the first entry.

    >>> [total_at([[20, 90], [50, 80]], step) for step in (19, 20, 49, 50)]
    [None, 90, 90, 80]
    """
    found = None
    for since, total in plan:
        if since <= step:
            found = total
    return found


def changed(plan: Plan, step: int, total: int) -> Plan:
    """The plan of which ``[step, total]`` is the last entry, unless it says so already.

    >>> changed([[0, 50]], 50, 80), changed([[0, 50]], 20, 50), changed([[0, 50]], 0, 60)
    ([[0, 50], [50, 80]], [[0, 50]], [[0, 60]])
    """
    kept = [list(entry) for entry in plan if entry[0] < step]
    return kept if kept and kept[-1][1] == total else [*kept, [step, total]]


def checked(plan: Iterable[Any]) -> Plan:
    """A plan that somebody wrote, as lists of int.

    Raises
    ------
    ValueError, TypeError
        It is empty, its steps do not ascend, or a total comes before its own step.
    """
    way = "expected [since, total] pairs of whole numbers like History.plan"
    try:
        found = [[operator.index(since), operator.index(total)] for since, total in plan]
    except (TypeError, ValueError):
        raise TypeError(f"fit: plan is {plan!r}, {way}") from None
    since = [entry[0] for entry in found]
    if not found or since[0] < 0 or since != sorted(set(since)) or any(t <= s for s, t in found):
        raise ValueError(f"fit: plan is {plan!r}, {way}, since ascending and below its total")
    return found


class Pace:
    """The speed of a run bounded by time, and how many steps its time holds.

    Parameters
    ----------
    seconds : float
        For the whole run.
    validate_every : int
        Steps between two pauses.
    """

    def __init__(self, seconds: float, validate_every: int) -> None:
        self.seconds, self.validate_every = seconds, validate_every
        self.pause = 0.0  # seconds of the last validation and save
        self._times: list[float] = []
        self._looked = 0.0

    def estimate(self, took: float, elapsed: float, steps: int, total: int | None) -> int | None:
        """After a step: the total to plan with from now on, or None to leave it as it is.

        Parameters
        ----------
        took : float
            Seconds of this step, pauses not counted.
        elapsed : float
            Seconds of the run so far.
        steps, total : int
            Steps done, and the total that holds now, None if there is none.
        """
        self._times.append(took)
        if total is None:
            measured = self._times[_WARM_STEPS:]
            late = len(self._times) >= _FEWEST and elapsed > 0.2 * self.seconds
            if len(measured) < _MEASURED_STEPS and not late:
                return None
            pace = float(np.median(measured or self._times[1:]))
        else:
            if len(self._times) < _FEWEST or elapsed - self._looked < self.seconds / _LOOKS:
                return None
            pace = float(np.mean(self._times))
        self._looked = elapsed
        self._times.clear()
        found = self.total(pace, elapsed, steps)
        return None if total is not None and abs(found - total) <= _TOLERATED * total else found

    def total(self, pace: float, elapsed: float, steps: int) -> int:
        """Steps that the time holds at ``pace`` seconds each, one more at least."""
        pace += self.pause / self.validate_every
        return steps + max(1, int((self.seconds - elapsed - self.pause) / pace))
