"""The command line: ``python -m bench run``, ``report``, ``compare``, ``roofline``, ``probe``,
``gpu-check``, ``gpu-resources``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from bench import record
from bench.machine import usable_cpus
from bench.options import MEMORY_SHAPE, QUICK_SHAPES, parser
from bench.problems import SHAPES, SWEEP, Shape, parse_shape


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
        if options.command == "gpu-check":
            from bench.gpu.check import check

            return check(options.out)
        if options.command == "gpu-resources":
            return _gpu_resources(options.arch)
        return _report(options.file, options.probes, options.png, options.readme)
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2


def _run(options: argparse.Namespace, arguments: list[str]) -> int:
    _need_reference()
    from bench.progress import Progress
    from bench.run import Runner
    from bench.settings import Settings

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
    from bench.settings import FULL, QUICK, Settings

    if options.shapes:
        shapes = [parse_shape(text) for text in options.shapes]
    elif options.sweep:
        shapes = list(SWEEP)
    else:
        shapes = [s for s in SHAPES if not options.quick or s.name in QUICK_SHAPES]
    partial = options.quick or options.sweep or options.shapes
    words = options.memory or (["none"] if partial else [MEMORY_SHAPE])
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


def _gpu_resources(architecture: int) -> int:
    from bench.gpu.resources import measure, table

    found = measure(architecture)
    print(table(found))
    return 1 if any(kernel.spilled for kernel in found) else 0


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
