"""Two result files: how much quicker the second is at each problem, and whether that is noise."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from bench.problems import Problem
from bench.record import Document, Measurement
from bench.sections import Bullets, Grid, Section, to_markdown
from bench.tables import (
    is_disturbed,
    ms,
    problem_of,
    ratio_text,
    shape_text,
    thread_text,
    time_text,
    title,
    unit,
)

_LEAST_CHANGE = 0.05  # less is never called a change


@dataclass
class Change:
    """One problem in both files."""

    problem: Problem
    threads: int
    before: Measurement
    after: Measurement

    @property
    def ratio(self) -> float:
        """Above 1 the second file is quicker."""
        return ms(self.before) / ms(self.after)

    @property
    def noise(self) -> float:
        """What the ratio may be off by: the spread of the rounds' medians in both files."""
        spreads = []
        for m in (self.before, self.after):
            rounds = sorted(m.round_medians_ms) or [ms(m)]
            spreads.append((rounds[-1] - rounds[0]) / ms(m) / 2)
        return max(_LEAST_CHANGE, sum(spreads))

    @property
    def verdict(self) -> str:
        """``slower`` or ``quicker`` where the ratio leaves the noise and the quartiles part."""
        disturbed = is_disturbed(self.before) or is_disturbed(self.after)
        if disturbed:
            return "disturbed"
        if self.ratio < 1 / (1 + self.noise) and _above(self.after, self.before):
            return "slower"
        if self.ratio > 1 + self.noise and _above(self.before, self.after):
            return "quicker"
        return ""


def _above(slow: Measurement, quick: Measurement) -> bool:
    """Whether the lower quartile of one lies above the upper quartile of the other."""
    low, high = slow.p25_ms or slow.p10_ms, quick.p75_ms or quick.p90_ms
    return low is not None and high is not None and low > high


def changes(before: Document, after: Document, peer: str) -> list[Change]:
    """The problems that the peer was timed on in both files, in the first one's order."""
    second = {
        (problem_of(m), m.threads): m
        for m in after.measurements
        if m.peer == peer and m.status == "timed"
    }
    found = []
    for m in before.measurements:
        key = (problem_of(m), m.threads)
        if m.peer == peer and m.status == "timed" and key in second:
            found.append(Change(*key, m, second[key]))
    return found


def compare(before: Document, after: Document, peer: str) -> tuple[str, int]:
    """A report on two files, and at how many problems the second is slower.

    Raises
    ------
    ValueError
        When the files have no timed problem of that peer in common.
    """
    found = changes(before, after, peer)
    if not found:
        raise ValueError(f"bench: the two files have no timed problem of {peer!r} in common")
    rows = []
    for change in found:
        mode = change.problem.mode
        rows.append(
            [
                f"{title(change.problem.cell, mode)} {shape_text(change.problem)}",
                str(change.threads),
                f"{time_text(ms(change.before), mode)} {unit(mode)}",
                f"{time_text(ms(change.after), mode)} {unit(mode)}",
                ratio_text(change.ratio), f"{100 * change.noise:.0f} %", change.verdict or "-",
            ]
        )  # fmt: skip
    header = ["problem", "threads", "before", "after", "before/after", "noise", "verdict"]
    slower = [change for change in found if change.verdict == "slower"]
    lines = [
        f"{title(c.problem.cell, c.problem.mode)} {shape_text(c.problem)}, "
        f"{thread_text(c.threads)}: {ratio_text(c.ratio)}"
        for c in slower
    ]
    mean = statistics.geometric_mean(change.ratio for change in found)
    texts = [
        f"before: {_origin(before)}; after: {_origin(after)}.",
        f"Geometric mean of before/after over {len(found)} problems: {mean:.3f}.",
        *_control(before, after, peer),
        *_warnings(before, after),
    ]
    sections = [
        Section(f"{peer}, after against before", [*texts, Grid(header, rows)], level=1),
        Section("Slower than before", [Bullets(lines) if lines else "None."]),
    ]
    return to_markdown(sections), len(slower)


def _origin(document: Document) -> str:
    dirty = " with uncommitted changes" if document.git["dirty"] else ""
    return f"{document.date[:16]}, commit {document.git['commit']}{dirty}"


def _control(before: Document, after: Document, peer: str) -> list[str]:
    """The other peers of both files, at the same versions: how much the machine itself moved."""
    versions = [{p.name: p.version for p in d.peers if p.version} for d in (before, after)]
    same = [n for n, v in versions[0].items() if n != peer and versions[1].get(n) == v]
    ratios = [change.ratio for name in same for change in changes(before, after, name)]
    if not ratios:
        return []
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return [
        f"The same ratio over {len(ratios)} measurements of peers that did not change "
        f"({', '.join(same)}): median {middle:.3f}, quartiles {low:.3f} to {high:.3f}."
    ]


def _warnings(before: Document, after: Document) -> list[str]:
    if before.machine_name == after.machine_name:
        return []
    return [f"**Different machines: {before.machine_name} and {after.machine_name}.**"]
