"""Ctrl-C that waits for the end of a training step."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["DeferredInterrupt"]


class DeferredInterrupt:
    """Context in which the first Ctrl-C only sets ``requested``; the second one interrupts.

    In the middle of a step parameters are half updated; the loop looks at ``requested`` between
    steps, where a checkpoint can be written that resumes bit for bit. Outside the main thread, or
    where Ctrl-C is ignored, nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._old: Any = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __enter__(self) -> DeferredInterrupt:
        if threading.current_thread() is threading.main_thread():
            old = signal.getsignal(signal.SIGINT)
            if old is not signal.SIG_IGN:
                self._old = old
                signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)
