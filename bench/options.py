"""The options of ``python -m bench`` and its subcommands."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import bench
from bench.machine import usable_cpus
from bench.peers import peer_names
from bench.probes import probe_names
from bench.problems import GATES, MODES, SHAPES

QUICK_SHAPES = ("one-stream", "small-batch", "step-64")
MEMORY_SHAPE = "hydrology"


def parser() -> argparse.ArgumentParser:
    """All subcommands and their options."""
    top = argparse.ArgumentParser(prog="python -m bench", description=bench.__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    _add_run(commands)
    _add_probe(commands)

    report = commands.add_parser(
        "report", help="print a result file as Markdown, draw it, write its HTML page"
    )
    report.add_argument("file", type=Path)
    report.add_argument("probes", type=Path, nargs="*", help="result files of probes to add")
    report.add_argument("--png", type=Path, help="where to draw; default: beside the result file")
    report.add_argument(
        "--readme", action="store_true", help="print the README's tables instead, draw nothing"
    )

    compare = commands.add_parser(
        "compare", help="compare two result files; exit status 1 if the second is slower somewhere"
    )
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    compare.add_argument("--peer", default="fastrnn", help="whose times; default: fastrnn")

    roofline = commands.add_parser(
        "roofline", help="measure multiply-add peak and memory bandwidths, print them"
    )
    roofline.add_argument(
        "--threads", type=_counts, help="thread counts, by commas; default: 1 and all CPUs"
    )
    roofline.add_argument("--out", type=Path, help="write them to this JSON file as well")

    check = commands.add_parser(
        "gpu-check",
        help="everything that needs a GPU, in nine minutes: build, tests, sanitizers, costs, times",
    )
    check.add_argument(
        "--out", type=Path, required=True, help="folder for gpu-check.json and gpu-check.txt"
    )

    resources = commands.add_parser(
        "gpu-resources",
        help="compile the CUDA kernels, print registers and spills of each; no GPU is needed; "
        "exit status 1 if one spills",
    )
    resources.add_argument(
        "--arch", type=int, default=90, help="compute capability; default: 90, of an H100"
    )
    return top


def _add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run", help="check and time the peers, write a result file, print its report"
    )
    run.add_argument(
        "--quick",
        action="store_true",
        help=f"a fraction of the repeats, and only the shapes {', '.join(QUICK_SHAPES)} unless "
        "--shapes is given: to see that everything works, not to quote",
    )
    run.add_argument(
        "--sweep",
        action="store_true",
        help="time against T, B and H: one size varied at a time, instead of the named shapes",
    )
    run.add_argument("--cells", type=_subset(GATES), default=list(GATES), help="default: all")
    run.add_argument("--modes", type=_subset(MODES), default=list(MODES), help="default: all")
    run.add_argument(
        "--shapes",
        type=_words,
        help=f"names or BxTxIxH[xL2][xD2], by commas; default: {','.join(s.name for s in SHAPES)}",
    )
    run.add_argument(
        "--threads", type=_counts, help="thread counts, by commas; default: all CPUs, 1 for streams"
    )
    run.add_argument(
        "--peers",
        type=_peers,
        default=peer_names(),
        help=f"names or paths of .py files, by commas; default: {','.join(peer_names())}",
    )
    run.add_argument(
        "--no-confine",
        dest="confine",
        action="store_false",
        help="let a peer with n threads use all CPUs instead of n of them",
    )
    run.add_argument(
        "--memory",
        type=_words,
        help="shape at which the memory of a training step is measured, or none; default: "
        f"{MEMORY_SHAPE}, none with --quick, --sweep or --shapes",
    )
    run.add_argument(
        "--out", type=Path, help="result file; default: bench/results/MACHINE/DATE-COMMIT.json"
    )
    run.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="take up an interrupted run with its own settings; all other options are ignored",
    )


def _add_probe(commands: Any) -> None:
    probe = commands.add_parser(
        "probe",
        help="time what a run does not: a busy core, denormals, row lengths, float64, blocks, "
        "models and calls of torch",
    )
    probe.add_argument("name", choices=probe_names())
    probe.add_argument("--cells", type=_subset(GATES), help="default: the probe's own")
    probe.add_argument("--shapes", type=_words, help="default: the probe's own")
    probe.add_argument("--threads", type=_counts, help="a thread count; default: the probe's own")
    probe.add_argument("--peers", type=_peers, default=peer_names(), help="default: all")
    probe.add_argument("--quick", action="store_true", help="a fraction of the repeats")
    probe.add_argument(
        "--out", type=Path, help="result file; default: bench/results/MACHINE/DATE-COMMIT-NAME.json"
    )


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _subset(known: Collection[str]) -> Callable[[str], list[str]]:
    """An argparse type: words out of the known ones."""

    def words(text: str) -> list[str]:
        unknown = [word for word in _words(text) if word not in known]
        if unknown or not _words(text):
            raise argparse.ArgumentTypeError(f"{text!r}: expected some of {', '.join(known)}")
        return _words(text)

    return words


def _counts(text: str) -> list[int]:
    try:
        counts = [len(usable_cpus()) if w == "all" else int(w) for w in _words(text)]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1 or max(counts) > len(usable_cpus()):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected thread counts from 1 to {len(usable_cpus())}, the usable CPUs, "
            "or all"
        )
    return counts


def _peers(text: str) -> list[str]:
    names = _words(text)
    unknown = [n for n in names if n not in peer_names() and not Path(n).is_file()]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"{','.join(unknown) or text!r}: expected some of {', '.join(peer_names())}, "
            "or paths of .py files"
        )
    return names
