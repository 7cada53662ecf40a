"""Commands in order, each with a time limit; what became of them is on disk after every one.

Stages of a group run at the same time, groups one after another. A stage that fails, cannot start
or runs out of time does not stop the next. When the time of the whole run is over, what is left is
"not run".
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PASSED = "passed"
NOT_RUN = "not run"
TEXT_TAIL = 6000  # characters of a stage's output in the text
JSON_TAIL = 60_000  # and in the JSON file
SHORTEST = 5.0  # seconds: with less left, a stage is not begun


@dataclass
class Stage:
    """A command, its limit in seconds, and what became of it."""

    name: str
    command: list[str]
    limit: float
    environment: dict[str, str] = field(default_factory=dict)
    data: Path | None = None  # a JSON file that the command writes, taken as far as it came
    result: str = NOT_RUN
    seconds: float = 0.0
    output: str = ""
    found: Any = None  # what `data` held


class Runner:
    """Runs groups of stages and keeps gpu-check.json and gpu-check.txt in `out` up to date."""

    def __init__(
        self, out: Path, cwd: Path, total: float, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self.out, self.cwd, self.say = out, cwd, say
        self.end = time.monotonic() + total
        self.lock = threading.Lock()
        self.groups: list[list[Stage]] = []
        out.mkdir(parents=True, exist_ok=True)

    def run(self, groups: list[list[Stage]]) -> bool:
        """Whether all of them passed."""
        self.groups = groups
        self.write()
        for group in groups:
            with ThreadPoolExecutor(len(group)) as pool:
                list(pool.map(self._run_stage, group))
        return all(stage.result == PASSED for group in groups for stage in group)

    def _run_stage(self, stage: Stage) -> None:
        limit = min(stage.limit, self.end - time.monotonic())
        if limit < SHORTEST and limit < stage.limit:
            stage.result = f"{NOT_RUN}: the time of the whole check is over"
        else:
            start = time.monotonic()
            stage.result, stage.output = self._run_command(stage, limit)
            stage.seconds = round(time.monotonic() - start, 1)
        if stage.data is not None:
            try:
                stage.found = json.loads(stage.data.read_text())
            except (OSError, ValueError) as error:
                stage.found = None
                if stage.result == PASSED:
                    stage.result = f"failed (its results cannot be read: {error})"
        with self.lock:
            self.say(f"{stage.name}: {stage.result}, {stage.seconds} s")
            self.write()

    def _run_command(self, stage: Stage, limit: float) -> tuple[str, str]:
        # A file, not a pipe: a process that outlives its parent would keep a pipe open.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            try:
                process = subprocess.Popen(
                    stage.command,
                    cwd=self.cwd,
                    env=os.environ | stage.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                return "failed (it did not start)", str(error)
            try:
                status = process.wait(timeout=limit)
                result = PASSED if status == 0 else f"failed ({status})"
            except subprocess.TimeoutExpired:
                result = f"over its limit of {limit:.0f} s"
            finally:
                _end_session(process)
            output.seek(0)
            return result, output.read()[-JSON_TAIL:]

    def write(self) -> None:
        """Both files, whole or not at all: a run that is cut off leaves what it found."""
        stages = [stage for group in self.groups for stage in group]
        document = {stage.name: _record(stage) for stage in stages}
        _replace(self.out / "gpu-check.json", json.dumps(document, indent=1) + "\n")
        _replace(self.out / "gpu-check.txt", as_text(stages))


def _end_session(process: subprocess.Popen[str]) -> None:
    """Whatever the command started and left, and the command itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _record(stage: Stage) -> dict[str, Any]:
    return {
        "result": stage.result,
        "seconds": stage.seconds,
        "limit": stage.limit,
        "command": stage.command,
        "environment": stage.environment,
        "output": stage.output,
        "found": stage.found,
    }


def as_text(stages: list[Stage]) -> str:
    """The stages in a table, then the end of what each printed."""
    width = max((len(stage.name) for stage in stages), default=0)
    table = [f"{s.name:<{width}}  {s.seconds:>6} s  {s.result}" for s in stages]
    parts = ["\n".join(table)]
    for s in stages:
        if s.result.startswith(NOT_RUN):
            continue
        cut = "...\n" if len(s.output) > TEXT_TAIL else ""
        shown = cut + s.output[-TEXT_TAIL:].strip("\n")
        parts.append(f"== {s.name}: {s.result}, {s.seconds} s\n$ {' '.join(s.command)}\n{shown}")
    return "\n\n".join(parts) + "\n"


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".new")
    unfinished.write_text(text)
    unfinished.replace(path)
