"""The command line: ``python -m bench run`` and ``python -m bench report FILE``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from bench import record
from bench.machine import usable_cpus
from bench.peers import peer_names
from bench.problems import GATES, MODES, SHAPES, parse_shape

_QUICK_SHAPES = ("one-stream", "small-batch")


def parser() -> argparse.ArgumentParser:
    """All subcommands and their options."""
    top = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)

    run = commands.add_parser(
        "run", help="check and time the peers, write a result file, print its report"
    )
    run.add_argument(
        "--quick",
        action="store_true",
        help=f"a fraction of the repeats, and only the shapes {', '.join(_QUICK_SHAPES)} unless "
        "--shapes is given: to see that everything works, not to quote",
    )
    run.add_argument("--cells", type=_subset(GATES), default=list(GATES), help="default: all")
    run.add_argument("--modes", type=_subset(MODES), default=list(MODES), help="default: both")
    run.add_argument(
        "--shapes",
        type=_words,
        help=f"names or BxTxIxH, by commas; default: {','.join(s.name for s in SHAPES)}",
    )
    run.add_argument(
        "--threads", type=_counts, help="thread counts, by commas; default: 1 and all CPUs"
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
        "--out", type=Path, help="result file; default: bench/results/MACHINE/DATE-COMMIT.json"
    )

    report = commands.add_parser("report", help="print a result file as Markdown, draw its bars")
    report.add_argument("file", type=Path)
    report.add_argument("--png", type=Path, help="where to draw; default: beside the result file")
    return top


def main(arguments: list[str]) -> int:
    """Run a subcommand; 2 for what the user can mend, 130 for an interrupted run."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "run":
            return _run(options, arguments)
        return _report(options.file, options.png)
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2


def _run(options: argparse.Namespace, arguments: list[str]) -> int:
    try:
        from bench.run import FULL, QUICK, Runner, Settings
    except ImportError as error:
        raise RuntimeError(
            f"bench: fastrnn's reference cannot be imported ({error}); pip install . first"
        ) from error
    from bench.progress import Progress

    default = [s.name for s in SHAPES if not options.quick or s.name in _QUICK_SHAPES]
    settings = Settings(
        cells=options.cells,
        modes=options.modes,
        shapes=[parse_shape(text) for text in options.shapes or default],
        threads=options.threads or sorted({1, len(usable_cpus())}),
        peers=options.peers,
        effort=QUICK if options.quick else FULL,
        confine=options.confine,
    )
    progress = Progress(settings.measurements)
    runner = Runner(settings, options.out, arguments, progress)
    path = runner.path
    try:
        runner.run()
    except KeyboardInterrupt:
        print(f"bench: interrupted; what was timed is in {path}", file=sys.stderr)
        return 130
    finally:
        progress.close()
    print(f"bench: wrote {path}", file=sys.stderr)
    return _report(path, None)


def _report(path: Path, png: Path | None) -> int:
    from bench.plot import draw_speedups
    from bench.report import markdown

    document = record.read(path)
    print(markdown(document))
    target = png or path.with_suffix(".png")
    try:
        draw_speedups(document, target)
    except (ValueError, RuntimeError) as error:
        if png is not None:
            raise
        print(error, file=sys.stderr)  # the tables are what was asked for; the bars are an extra
        return 0
    print(f"bench: drew {target}", file=sys.stderr)
    return 0


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
        counts = [int(word) for word in _words(text)]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1 or max(counts) > len(usable_cpus()):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected thread counts from 1 to {len(usable_cpus())}, the usable CPUs"
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
