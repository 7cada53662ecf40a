"""``fastrnn.Stepper.process`` as a peer of its own: a stream, a block of all steps at a time."""

from __future__ import annotations

from typing import Any

from bench.peers.base import Array
from bench.peers.fastrnn_cpu import FastrnnCpu


class FastrnnBlocks(FastrnnCpu):
    """What is timed is ``process(x)``; the check compares its rows one by one."""

    name = "fastrnn process"
    modes = ("stream",)

    @classmethod
    def available(cls) -> str | None:
        import fastrnn

        if not hasattr(fastrnn, "Stepper"):
            return f"fastrnn {fastrnn.__version__} has no Stepper"
        return super().available()

    def start_stream(self) -> None:
        import fastrnn

        self.stepper = fastrnn.Stepper(self.layer, streams=self.x.shape[1])
        self.y = self.stepper.process(self.x)

    def step(self, t: int) -> Array:
        row: Array = self.y[t]
        return row

    def stream(self) -> None:
        self.y = self.stepper.process(self.x)

    def plan(self) -> dict[str, Any] | None:
        return {"api": "Stepper.process"}
