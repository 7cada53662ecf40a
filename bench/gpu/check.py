"""Everything that a GPU is needed for, in one run: build, tests, sanitizers, first timings.

Each stage has a time limit of its own and runs in processes of its own; a stage that fails does not
stop the next. It needs no network: nvcc, CMake, Ninja, pybind11, scikit-build-core, CuPy and pytest
must be installed, torch for the column beside.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TAIL = 4000  # characters of output that are kept


@dataclass
class Stage:
    """A command, its limit in seconds, and what became of it."""

    name: str
    command: list[str]
    limit: float
    result: str = "not run"
    seconds: float = 0.0
    output: str = ""


def stages(out: Path, architecture: str) -> list[Stage]:
    """All stages, in order: 540 seconds together."""
    site = out / "site"
    python = [sys.executable]
    define = "-Ccmake.define.FASTRNN_CUDA"
    build = [
        *python, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps",
        "--upgrade", "--target", str(site), f"{define}=ON",
        f"{define}_ARCHITECTURES={architecture}", str(ROOT),
    ]  # fmt: skip
    suite = [*python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs"]
    device = "tests/spec/test_gpu_device.py"
    sanitize = ["compute-sanitizer", "--error-exitcode", "1"]
    one = [*suite, device, "-k", "real and same_bits"]
    return [
        Stage("machine", ["nvidia-smi"], 15),
        Stage("compiler", ["nvcc", "--version"], 10),
        Stage("build", build, 200),
        Stage("kernels against the reference", [*suite, device, "-k", "real"], 100),
        Stage("memcheck", [*sanitize, "--tool", "memcheck", *one], 60),
        Stage("racecheck", [*sanitize, "--tool", "racecheck", *one], 60),
        Stage("speed", [*python, "-m", "bench.gpu_speed", str(out / "speed.json")], 95),
    ]


def architecture_here() -> str:
    """The compute capability of the first GPU, "90"; the same if there is none to ask."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=15, check=True)
    except (OSError, subprocess.SubprocessError):
        return "90"
    return found.stdout.split()[0].replace(".", "")


def run_stage(stage: Stage, environment: dict[str, str]) -> None:
    """Run it, and end whatever it started when its time is over."""
    start = time.monotonic()
    try:
        process = subprocess.Popen(
            stage.command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        stage.result, stage.output = "failed", str(error)
        return
    try:
        output, _ = process.communicate(timeout=stage.limit)
        stage.result = "passed" if process.returncode == 0 else f"failed ({process.returncode})"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        stage.result = f"over its limit of {stage.limit:g} s"
    stage.seconds = round(time.monotonic() - start, 1)
    stage.output = output[-TAIL:]


def check(out: Path) -> int:
    """All stages; writes gpu-check.json and gpu-check.txt into `out`. 1 if one did not pass."""
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "PYTHONPATH": f"{out / 'site'}{os.pathsep}{ROOT}",
        "FASTRNN_REQUIRE_GPU": "1",  # a skipped test is a failed check
    }
    done = stages(out, architecture_here())
    for stage in done:
        run_stage(stage, environment)
        print(f"{stage.name}: {stage.result}, {stage.seconds} s", flush=True)
        # after every stage: a run that is cut off leaves what it found
        (out / "gpu-check.json").write_text(json.dumps([asdict(s) for s in done], indent=1) + "\n")
        text = [
            f"== {s.name}: {s.result}, {s.seconds} s\n$ {' '.join(s.command)}\n{s.output}\n"
            for s in done
        ]
        (out / "gpu-check.txt").write_text("\n".join(text))
    return 0 if all(stage.result == "passed" for stage in done) else 1
