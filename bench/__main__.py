"""The command line: ``python -m bench run``, ``report``, ``compare``, ``roofline``, ``probe``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from bench import record
from bench.machine import usable_cpus
from bench.peers import peer_names
from bench.probes import probe_names
from bench.problems import GATES, MODES, SHAPES, SWEEP, Shape, parse_shape

_QUICK_SHAPES = ("one-stream", "small-batch", "step-64")
_MEMORY_SHAPE = "hydrology"


def parser() -> argparse.ArgumentParser:
    """All subcommands and their options."""
    top = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
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
    return top


def _add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run", help="check and time the peers, write a result file, print its report"
    )
    run.add_argument(
        "--quick",
        action="store_true",
        help=f"a fraction of the repeats, and only the shapes {', '.join(_QUICK_SHAPES)} unless "
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
        f"{_MEMORY_SHAPE}, none with --quick, --sweep or --shapes",
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
        "probe", help="time what a run does not: a busy core, denormals, row lengths, blocks"
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


def main(arguments: list[str]) -> int:
    """Run a subcommand; 2 for what the user can mend, 130 for an interrupted run."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "run":
            return _run(options, arguments)
        if options.command == "probe":
            return _probe(options, arguments)
        if options.command == "compare":
            return _compare(options)
        if options.command == "roofline":
            return _roofline(options)
        return _report(options.file, options.probes, options.png, options.readme)
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2


def _run(options: argparse.Namespace, arguments: list[str]) -> int:
    _need_reference()
    from bench.progress import Progress
    from bench.run import Runner, Settings

    unfinished = None
    if options.resume:
        unfinished = record.read(options.resume)
        settings = Settings.from_record(unfinished.settings)
        options.out = options.resume
    else:
        settings = _settings(options)
    if not settings.problems():
        raise ValueError("bench: none of these shapes is timed in any of these modes")
    progress = Progress(settings.measurements)
    runner = Runner(settings, options.out, arguments, progress, unfinished)
    path = runner.path
    try:
        runner.run()
    except KeyboardInterrupt:
        print(
            f"bench: interrupted; what was timed is in {path}, and "
            f"python -m bench run --resume {path} goes on from there",
            file=sys.stderr,
        )
        return 130
    finally:
        progress.close()
    print(f"bench: wrote {path}", file=sys.stderr)
    return _report(path, [], None, readme=False)


def _settings(options: argparse.Namespace) -> Any:
    from bench.run import FULL, QUICK, Settings

    if options.shapes:
        shapes = [parse_shape(text) for text in options.shapes]
    elif options.sweep:
        shapes = list(SWEEP)
    else:
        shapes = [s for s in SHAPES if not options.quick or s.name in _QUICK_SHAPES]
    partial = options.quick or options.sweep or options.shapes
    words = options.memory or (["none"] if partial else [_MEMORY_SHAPE])
    memory: Shape | None = None if words == ["none"] else parse_shape(",".join(words))
    return Settings(
        cells=options.cells,
        modes=options.modes,
        shapes=shapes,
        threads=options.threads or [len(usable_cpus())],
        stream_threads=options.threads or [1],
        peers=options.peers,
        effort=QUICK if options.quick else FULL,
        confine=options.confine,
        memory=memory,
    )


def _need_reference() -> None:
    try:
        import fastrnn.reference  # noqa: F401
    except ImportError as error:
        raise RuntimeError(
            f"bench: fastrnn's reference cannot be imported ({error}); pip install . first"
        ) from error


def _probe(options: argparse.Namespace, arguments: list[str]) -> int:
    _need_reference()
    from bench.probes import load_probe
    from bench.probes.base import Probing, write_and_print

    probing = Probing(
        cells=options.cells,
        shapes=[parse_shape(text) for text in options.shapes or []],
        threads=options.threads[0] if options.threads else None,
        peers=options.peers,
        quick=options.quick,
    )
    try:
        result = load_probe(options.name).run(probing)
    except KeyboardInterrupt:
        print("bench: interrupted; a probe keeps nothing", file=sys.stderr)
        return 130
    write_and_print(options.name, result, arguments, options.out)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from bench.compare import compare

    text, slower = compare(record.read(options.before), record.read(options.after), options.peer)
    print(text)
    return 1 if slower else 0


def _roofline(options: argparse.Namespace) -> int:
    from bench.roofline import print_roofline

    print_roofline(options.threads or sorted({1, len(usable_cpus())}), options.out)
    return 0


def _report(path: Path, probes: list[Path], png: Path | None, readme: bool) -> int:
    from bench import plot, readme_tables
    from bench.probes.base import read_section
    from bench.report import sections
    from bench.sections import Figure, Section, to_html, to_markdown

    document = record.read(path)
    if readme:
        print(readme_tables.markdown(document), end="")
        return 0
    parts = sections(document)
    parts[-1:-1] = [read_section(probe) for probe in probes]
    print(to_markdown(parts))
    figures: list[Any] = []
    for name, draw in plot.DRAWINGS.items():
        target = (png or path).with_suffix(f".{name}.png")
        try:
            draw(document, target)
        except (ValueError, RuntimeError) as error:
            if png is not None and isinstance(error, RuntimeError):
                raise
            print(error, file=sys.stderr)  # the tables are what was asked for; the rest is extra
            continue
        print(f"bench: drew {target}", file=sys.stderr)
        figures.append(Figure(name, target.read_bytes()))
    page = (png or path).with_suffix(".html")
    drawn = [Section("Figures", figures)] if figures else []
    page.write_text(to_html([parts[0], *drawn, *parts[1:]]))
    print(f"bench: wrote {page}", file=sys.stderr)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
