"""What a run times: cells, modes, shapes, thread counts, peers, and how long each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.problems import Problem, Shape
from bench.timing import Effort

FULL = Effort(rounds=5, seconds=0.5, most_seconds=3.0, prepare_seconds=60.0)
QUICK = Effort(rounds=3, seconds=0.1, most_seconds=1.0, prepare_seconds=60.0)


@dataclass(frozen=True)
class Settings:
    """What to time."""

    cells: list[str]
    modes: list[str]
    shapes: list[Shape]
    threads: list[int]
    peers: list[str]
    effort: Effort
    confine: bool = True  # keep a peer with n threads on n CPUs
    stream_threads: list[int] | None = None  # None: as the others
    roofline: bool = True  # whether the machine's is measured first
    memory: Shape | None = None  # where the memory of a training step is measured

    @classmethod
    def from_record(cls, values: dict[str, Any]) -> Settings:
        """The settings that a result file holds."""

        def shape(fields: dict[str, Any]) -> Shape:
            return Shape(**(fields | {"modes": tuple(fields["modes"])}))

        return cls(
            **values
            | {
                "shapes": [shape(fields) for fields in values["shapes"]],
                "effort": Effort(**values["effort"]),
                "memory": shape(values["memory"]) if values["memory"] else None,
            }
        )

    @property
    def measurements(self) -> int:
        """Number of measurements asked for, those that turn out impossible included."""
        timed = sum(len(self.threads_for(problem)) for problem in self.problems())
        return (timed + len(self.memory_problems())) * len(self.peers)

    @property
    def every_thread_count(self) -> list[int]:
        return sorted({n for problem in self.problems() for n in self.threads_for(problem)})

    def threads_for(self, problem: Problem) -> list[int]:
        """The thread counts of a problem."""
        streams = problem.mode == "stream" and self.stream_threads
        return list(streams or self.threads)

    def problems(self) -> list[Problem]:
        every = [
            Problem(cell, mode, s.B, s.T, s.I, s.H, s.L, s.D)
            for cell in self.cells
            for mode in self.modes
            for s in self.shapes
            if mode in s.modes
        ]
        return list(dict.fromkeys(every))  # the axes of a sweep meet in one shape

    def memory_problems(self) -> list[Problem]:
        s = self.memory
        if s is None:
            return []
        return [Problem(cell, "training", s.B, s.T, s.I, s.H, s.L, s.D) for cell in self.cells]
