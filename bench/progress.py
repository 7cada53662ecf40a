"""Progress of a run: a tqdm bar on a terminal with tqdm installed, else a line per measurement."""

from __future__ import annotations

import sys
from typing import Any


class Progress:
    """Shows each settled measurement on standard error.

    Parameters
    ----------
    total : int
        Number of measurements of the run.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._bar: Any = None
        if not sys.stderr.isatty():
            return  # in a log file, redrawing a bar only makes noise
        try:
            from tqdm import tqdm
        except ImportError:
            return
        self._bar = tqdm(total=total, unit="measurement", smoothing=0.1, dynamic_ncols=True)

    def __call__(self, line: str, settled: int) -> None:
        """Show a line; it settles so many measurements."""
        self._done += settled
        if self._bar is None:
            print(f"[{self._done}/{self._total}] {line}", file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)
            self._bar.update(settled)

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        if self._bar is not None:
            self._bar.close()
