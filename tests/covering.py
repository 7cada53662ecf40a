"""Covering arrays: few rows in which every combination of any few factors occurs."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

Row = dict[str, Any]


def combinations(factors: dict[str, list[Any]], strength: int) -> set[tuple[tuple[str, int], ...]]:
    """Every choice of levels (by index) for every `strength` of the factors."""
    return {
        tuple(zip(names, levels, strict=True))
        for names in itertools.combinations(factors, strength)
        for levels in itertools.product(*(range(len(factors[n])) for n in names))
    }


def covering_rows(
    factors: dict[str, list[Any]], strength: int, seed: int, candidates: int = 20
) -> list[Row]:
    """Greedy covering array: of some random completions of an open combination take the best.

    Parameters
    ----------
    factors : dict
        Name -> levels.
    strength : int
        2 for pairs, 3 for triples.
    seed : int
    candidates : int
        Completions tried per row.

    Returns
    -------
    list of dict
        Name -> level, one dict per row.
    """
    rng = np.random.default_rng(seed)
    names = list(factors)
    subsets = list(itertools.combinations(names, strength))
    open_ = combinations(factors, strength)
    rows: list[Row] = []
    while open_:
        start = dict(min(open_))  # min, not pop: a set's order changes from run to run
        best: dict[str, int] = {}
        best_covered: set[tuple[tuple[str, int], ...]] = set()
        for _ in range(candidates):
            drawn = {n: int(rng.integers(len(factors[n]))) for n in names} | start
            covered = {tuple((n, drawn[n]) for n in subset) for subset in subsets} & open_
            if len(covered) > len(best_covered):
                best, best_covered = drawn, covered
        open_ -= best_covered
        rows.append({n: factors[n][best[n]] for n in names})
    return rows
