"""The result file: its fields, writing it whole or not at all, reading it with a check."""

from __future__ import annotations

import json
import os
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

SCHEMA = "fastrnn-bench/2"
_READABLE = (SCHEMA, "fastrnn-bench/1")  # 1: without everything below that has a default

STATUSES = ("timed", "refused", "failed", "declined")
"""``refused``: results differ from the reference; ``failed``: raised, died or took too long;
``declined``: the peer does not do this problem."""


@dataclass
class PeerFacts:
    """A peer that was asked for, and whether it could run."""

    module: str  # its file's name without .py, or its path
    name: str
    version: str | None
    unavailable: str | None  # the reason, None when it could run
    modes: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    effort: float = 1.0  # share of the usual repeats


@dataclass
class Level:
    """One level of the memory, read by all threads together."""

    name: str  # L1, L2, L3 or DRAM
    bytes_per_thread: int  # what each thread read over and over
    capacity_bytes: int  # what the level holds for that many threads
    gbytes_per_s: float


@dataclass
class Roofline:
    """What the machine can do at most with so many threads."""

    threads: int
    fma_gflops: float
    levels: list[Level]


@dataclass
class MemoryUse:
    """Memory that the first call of a problem added to a fresh process."""

    cell: str
    mode: str
    B: int
    T: int
    I: int
    H: int
    threads: int
    peer: str
    status: str
    reason: str | None = None
    before_bytes: int = 0  # resident before the call
    peak_bytes: int = 0  # the most that was resident during it


@dataclass
class CanarySample:
    """What the machine could do just before one problem was timed."""

    threads: int
    problem: str
    sgemm_gflops: float
    fma_gflops: float | None


@dataclass
class Measurement:
    """One peer on one problem with one thread count; in a stream times are per step."""

    cell: str
    mode: str
    B: int
    T: int
    I: int
    H: int
    threads: int
    peer: str
    status: str
    reason: str | None = None  # why it was not timed
    errors: dict[str, float] = field(default_factory=dict)  # against float64, see check.py
    median_ms: float | None = None
    p10_ms: float | None = None
    p90_ms: float | None = None
    calls: int = 0
    round_medians_ms: list[float] = field(default_factory=list)
    gflops: float | None = None  # at the median
    strangers_cpus: float | None = None  # CPUs other processes used meanwhile
    busy_before: int = 0  # rounds that began although another worker was not idle yet
    plan: dict[str, Any] | None = None  # how the peer says it runs the problem
    L: int = 1
    D: int = 1
    p25_ms: float | None = None
    p75_ms: float | None = None
    prepare_s: float | None = None  # building, compiling and the first call


@dataclass
class Document:
    """One run."""

    date: str  # ISO 8601, UTC
    command: list[str]
    complete: bool  # False while running, and for ever if the run was interrupted
    git: dict[str, Any]
    machine_name: str
    machine: dict[str, Any]
    versions: dict[str, str]  # Python and NumPy of the runner
    settings: dict[str, Any]
    peers: list[PeerFacts]
    fma_unavailable: str | None
    canary: list[CanarySample] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    rooflines: list[Roofline] = field(default_factory=list)
    memory: list[MemoryUse] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)  # dates at which the run was taken up again


def write(document: Document, path: Path) -> None:
    """Write the document as JSON, atomically: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps({"schema": SCHEMA, **asdict(document)}, indent=1, allow_nan=False)
    temporary.write_text(text + "\n")
    temporary.replace(path)


def read(path: Path) -> Document:
    """Read a result file.

    Raises
    ------
    ValueError
        When the file is no JSON, has another schema, or its fields are not those above.
    FileNotFoundError
        When there is no such file.
    """
    try:
        data = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"bench: {path} is not a JSON file ({error})") from error
    if not isinstance(data, dict) or data.pop("schema", None) not in _READABLE:
        raise ValueError(f"bench: {path} is not a result file with schema {SCHEMA!r}")
    document: Document = _build(Document, data, str(path))
    document.peers = [_build(PeerFacts, p, f"{path}, peers") for p in document.peers]
    document.canary = [_build(CanarySample, c, f"{path}, canary") for c in document.canary]
    document.measurements = [
        _build(Measurement, m, f"{path}, measurements") for m in document.measurements
    ]
    document.rooflines = [_build(Roofline, r, f"{path}, rooflines") for r in document.rooflines]
    for roofline in document.rooflines:
        levels = [_build(Level, level, f"{path}, levels") for level in roofline.levels]
        roofline.levels = levels
    document.memory = [_build(MemoryUse, m, f"{path}, memory") for m in document.memory]
    for measurement in document.measurements:
        if measurement.status not in STATUSES:
            raise ValueError(
                f"bench: {path} has a measurement with status {measurement.status!r}, "
                f"expected one of {', '.join(STATUSES)}"
            )
        if measurement.status == "timed" and not (measurement.median_ms or 0) > 0:
            raise ValueError(f"bench: {path} has a timed measurement without a positive median_ms")
    return document


def _build(kind: Any, data: Any, where: str) -> Any:
    """An instance of a dataclass from a dict whose keys must be its fields."""
    known = {f.name for f in fields(kind)}
    required = {
        f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING
    }
    given = set(data) if isinstance(data, dict) else set()
    if not isinstance(data, dict) or given - known or required - given:
        missing, extra = sorted(required - given), sorted(given - known)
        raise ValueError(
            f"bench: {where}: {kind.__name__} has missing fields {missing} and unknown {extra}"
        )
    return kind(**data)
