"""Ctrl-C and SIGTERM that wait for the end of a training step."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

__all__ = ["DeferredInterrupt"]


class DeferredInterrupt:
    """Context in which the first Ctrl-C or SIGTERM only sets ``requested``; the second one acts.

    In the middle of a step parameters are half updated; the loop looks at ``requested`` between
    steps, where a checkpoint can be written that resumes bit for bit. Outside the main thread,
    where Ctrl-C is ignored, and where SIGTERM has a handler of its own, nothing is changed.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._old: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    @property
    def word(self) -> str:
        """What happened."""
        return "terminated" if self.number == signal.SIGTERM else "interrupted"

    def deliver(self) -> None:
        """Let the signal act: KeyboardInterrupt, or the end of the process by SIGTERM."""
        if self.number == signal.SIGTERM:
            sys.stdout.flush()
            sys.stderr.flush()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        second = self.requested
        self.number = number
        if second:
            self.deliver()

    def __enter__(self) -> DeferredInterrupt:
        if threading.current_thread() is threading.main_thread():
            interrupt, end = (signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM))
            if interrupt is not signal.SIG_IGN:
                self._old[signal.SIGINT] = interrupt
            if end is signal.SIG_DFL:
                self._old[signal.SIGTERM] = end
            for number in self._old:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)
