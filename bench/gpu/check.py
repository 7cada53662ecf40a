"""Everything that a GPU is needed for, in one run of nine minutes: the stages of `gpu-check`.

It needs no network, but what it builds and compares with: nvcc, CMake, Ninja, pybind11,
scikit-build-core, CuPy, torch with its CUDA libraries, pytest.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.gpu.stages import Runner, Stage

ROOT = Path(__file__).parents[2]
TOTAL = 530.0  # seconds
TORCH_SUITES = "tests/adapters/torch_core/test_torch_cuda*.py"
# Tests of a GPU that sanitizers run: every cell, two types of storage, small sizes.
SANITIZED = "real and every_cell and (float32 or bfloat16)"


def stages(folder: Path, architecture: str) -> list[list[Stage]]:
    """All stages; those of a group run together. `folder` holds the build and results."""
    python = [sys.executable]
    machine = [
        Stage("machine", ["nvidia-smi"], 15),
        Stage("compiler", ["nvcc", "--version"], 10),
        Stage("versions", [*python, "-m", "bench.gpu.versions", str(folder / "versions.json")], 40,
              data=folder / "versions.json"),
    ]  # fmt: skip
    program, costs = str(folder / "microbenchmarks"), folder / "costs.json"
    costing = [*python, "-m", "bench.gpu.microbenchmarks"]
    build = [
        Stage("build", install_command(folder / "site", architecture), 200),
        Stage("compile micro-benchmarks", [*costing, "build", program, architecture], 60),
    ]
    # alone: it is timed
    measure = [Stage("micro-benchmarks", [*costing, "run", program, str(costs)], 45, data=costs)]
    speed = [*python, "-m", "bench.gpu.speed"]
    compiled, timed = folder / "compiled.json", folder / "speed.json"
    return [
        machine,
        build,
        measure,
        suites(),
        [Stage("speed", [*speed, str(timed), "--costs", str(costs)], 170, data=timed)],
        [Stage("torch.compile", [*speed, str(compiled), "--compiled"], 75, data=compiled)],
    ]


def suites() -> list[Stage]:
    """The tests that a GPU is needed for; nothing here is timed, so they share the GPU."""
    # Other libraries' warnings are no findings here; whether a bound holds is.
    pytest = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default",
        "--tb", "short", "--maxfail", "20", "--capture", "no",
    ]  # fmt: skip
    spec = "tests/spec/test_gpu_{}.py"
    found = [
        Stage(name, [*pytest, spec.format(file), "-k", "real"], 110)
        for name, file in (
            ("kernels against the reference", "device"),
            ("accuracy, and cuDNN's", "accuracy"),
            ("graphs and streams", "streams"),
            ("long sequences", "long"),
            ("layers on CuPy arrays", "layers"),
        )
    ]
    for tool in ("memcheck", "racecheck"):
        sanitizer = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "1"]
        if tool == "memcheck":  # CuPy asks the driver things that it expects to be refused
            sanitizer += ["--report-api-errors", "no"]
        one = [*sanitizer, *pytest, spec.format("device"), "-k", SANITIZED]
        # an allocation for each array: one piece of a pool may be overrun without anyone noticing
        found.append(Stage(tool, one, 110, {"FASTRNN_GPU_POOL": "off"}))
    torch = sorted(str(file.relative_to(ROOT)) for file in ROOT.glob(TORCH_SUITES))
    found.append(Stage("torch suites on CUDA", [*pytest, *torch, "-k", "not emulated"], 110))
    return found


def install_command(site: Path, architecture: str) -> list[str]:
    """Build this source tree for one architecture, and install it into a folder."""
    define = "-Ccmake.define.FASTRNN_CUDA"
    return [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps",
        "--disable-pip-version-check", "--upgrade", "--target", str(site), f"{define}=ON",
        f"{define}_ARCHITECTURES={architecture}", str(ROOT),
    ]  # fmt: skip


def architecture_here() -> str:
    """The compute capability of the first GPU, "90"; the same if there is none to ask."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=15, check=True)
    except (OSError, subprocess.SubprocessError):
        return "90"
    return found.stdout.split()[0].replace(".", "")


def check(out: Path) -> int:
    """All stages; keeps gpu-check.json and gpu-check.txt in `out`. 1 if one did not pass."""
    out = out.resolve()
    with tempfile.TemporaryDirectory(prefix="fastrnn-gpu-check-") as scratch:
        folder = Path(scratch)
        shared = {
            "PYTHONPATH": f"{folder / 'site'}:{ROOT}",
            "FASTRNN_REQUIRE_GPU": "1",  # a skipped test is a failed check
            "PYTHONUNBUFFERED": "1",  # what a stage printed before its limit is kept
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        groups = stages(folder, architecture_here())
        for group in groups:
            for stage in group:
                stage.environment = shared | stage.environment
        runner = Runner(out, ROOT, TOTAL, say=lambda text: print(text, flush=True))
        return 0 if runner.run(groups) else 1
