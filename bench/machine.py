"""Facts about the machine and the source tree that go into every result file."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_CPU = Path("/sys/devices/system/cpu")
_FLAGS = re.compile(r"^(avx.*|amx.*|fma|f16c|bmi2|sse4_2|hypervisor|asimd.*|sve.*|bf16|i8mm|fphp)$")
_VARIABLES = re.compile(
    r"^(OMP|GOMP|KMP|MKL|OPENBLAS|ONEDNN|DNNL|FASTRNN|MALLOC|GLIBC_TUNABLES|LD_PRELOAD)"
)


def machine_facts() -> dict[str, Any]:
    """Model, instruction sets, cores, caches, memory, kernel and the state the run found.

    Returns
    -------
    dict
        Values that cannot be read on this system are None.
    """
    cpuinfo = _cpuinfo()
    usable = usable_cpus()
    flags = cpuinfo.get("flags") or cpuinfo.get("Features") or ""  # x86, ARM
    return {
        "cpu": cpuinfo.get("model name") or platform.processor() or platform.machine(),
        "cpu_family": cpuinfo.get("cpu family"),
        "cpu_model": cpuinfo.get("model"),
        "architecture": platform.machine(),
        "flags": sorted(filter(_FLAGS.match, flags.split())),
        "cpus_online": os.cpu_count(),
        "cpus_usable": len(usable),
        "cores_usable": len(one_cpu_per_core(usable)),
        "caches": _caches(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(),
        "system": _system(),
        "libc": " ".join(platform.libc_ver()),
        "governor": _read(_CPU / "cpu0/cpufreq/scaling_governor"),
        "transparent_hugepages": _read(Path("/sys/kernel/mm/transparent_hugepage/enabled")),
        "cgroup_cpu_max": _read(Path("/sys/fs/cgroup/cpu.max")),
        "load_average_at_start": os.getloadavg()[0],
        "environment": {k: v for k, v in sorted(os.environ.items()) if _VARIABLES.match(k)},
    }


def machine_name(facts: dict[str, Any]) -> str:
    """A folder name: vendor's model name, family and model numbers, usable CPUs.

    Examples
    --------
    >>> machine_name({"cpu": "Intel(R) Xeon(R) Processor", "cpu_family": "6", "cpu_model": "143",
    ...               "cpus_usable": 2})
    'intel-xeon-processor-6-143-2cpu'
    """
    plain = re.sub(r"\((R|TM)\)|@.*|\bCPU\b", " ", facts["cpu"])
    words = [plain, facts["cpu_family"], facts["cpu_model"], f"{facts['cpus_usable']}cpu"]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(filter(None, words)).lower()).strip("-")


def git_facts() -> dict[str, Any]:
    """Commit of the source tree, and whether tracked files differ from it."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--short=10", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!bench/results")
    return {"commit": commit, "dirty": bool(changed)}


def usable_cpus() -> list[int]:
    """CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def one_cpu_per_core(cpus: list[int]) -> list[int]:
    """The first of the given CPUs on each physical core."""
    first: dict[str, int] = {}
    for cpu in cpus:
        core = _read(_CPU / f"cpu{cpu}/topology/core_cpus_list")
        core = core or _read(_CPU / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu)
        first.setdefault(core, cpu)
    return sorted(first.values())


def cpus_for(threads: int) -> list[int]:
    """The CPUs that a peer with this many threads is confined to: distinct cores come first."""
    usable = usable_cpus()
    cores = one_cpu_per_core(usable)
    return (cores + [cpu for cpu in usable if cpu not in cores])[:threads]


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _cpuinfo() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo."""
    first = (_read(Path("/proc/cpuinfo")) or "").split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _caches() -> dict[str, str]:
    """Size of each cache of the first CPU, such as {"L1 Data": "48K", "L2 Unified": "2048K"}."""
    found = {}
    for index in sorted(_CPU.glob("cpu0/cache/index*")):
        level, kind, size = (_read(index / name) for name in ("level", "type", "size"))
        if level and kind and size:
            found[f"L{level} {kind}"] = size
    return found


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()
