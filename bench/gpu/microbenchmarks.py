"""Builds bench/gpu/microbenchmarks.cu, runs it, reads what it printed.

``python -m bench.gpu.microbenchmarks build PROGRAM ARCHITECTURE`` compiles,
``python -m bench.gpu.microbenchmarks run PROGRAM FILE`` runs, keeps the JSON in FILE and prints it
as a table; exit status 1 if a wait timed out or data were stale.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.gpu.resources import nvcc

SOURCE = Path(__file__).with_name("microbenchmarks.cu")
FLAGS = ["-std=c++17", "-O3", "-Werror=all-warnings", "-Xcompiler=-Wall,-Wextra,-Werror"]


def build_command(program: Path, architecture: str) -> list[str]:
    """The compiler's command line.

    Raises
    ------
    RuntimeError
        There is no nvcc.
    """
    compiler = nvcc()
    if compiler is None:
        raise RuntimeError("bench: nvcc is not on the PATH; the micro-benchmarks are compiled")
    return [compiler, *FLAGS, f"-arch=sm_{architecture}", "-o", str(program), str(SOURCE)]


def table(found: dict[str, Any]) -> str:
    """A line for each cost."""
    device = found["device"]
    lines = [
        f"{device['name']}, compute capability {device['compute_capability'] / 10}, "
        f"{device['processors']} processors, {device['clock_ghz']:.3f} GHz under load"
    ]
    for cost in found["costs"]:
        sizes = ", ".join(f"{name} {value:g}" for name, value in cost["sizes"].items())
        value = "-" if cost["value"] is None else f"{cost['value']:.4g}"
        status = "" if cost["status"] == "measured" else f"  {cost['status']}"
        lines.append(f"{cost['name']:<34} {value:>9} {cost['unit']:<22} {sizes}{status}")
    return "\n".join(lines + ([f"error: {found['error']}"] if found["error"] else []))


def sound(found: dict[str, Any]) -> bool:
    """Whether everything was measured, and nothing was stale."""
    return not found["error"] and all(cost["status"] == "measured" for cost in found["costs"])


def main(arguments: list[str]) -> int:
    """`build` or `run`."""
    action, program, last = arguments
    if action == "build":
        return subprocess.run(build_command(Path(program), last)).returncode
    done = subprocess.run([program], capture_output=True, text=True)
    if not done.stdout:
        print(done.stderr, end="", file=sys.stderr)
        return 1
    Path(last).write_text(done.stdout)
    found = json.loads(done.stdout)
    print(table(found))
    return 0 if sound(found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
