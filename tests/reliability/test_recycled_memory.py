"""Blocks that results and tapes gave back are kept for the next call, up to a limit."""

from __future__ import annotations

from fastrnn import _core

MB = 1 << 18  # float32 numbers


def give_back(megabytes: int) -> None:
    """Take a block and give it back; its pages are never touched."""
    _core.empty(False, (megabytes * MB,))


def kept() -> int:
    """Megabytes that were kept; none are afterwards."""
    return _core.release_memory() >> 20


def test_blocks_are_kept_up_to_the_limit() -> None:
    _core.release_memory()
    arrays = [_core.empty(False, (300 * MB,)) for _ in range(4)]
    del arrays
    assert kept() == 900


def test_blocks_without_a_user_make_room() -> None:
    """As of a model that trained before, in a process that trains another one now."""
    _core.release_memory()
    arrays = [_core.empty(False, (300 * MB,)) for _ in range(3)]
    del arrays
    for _ in range(70):
        give_back(200)
    assert kept() == 800  # one of the three has gone


def test_a_loop_that_needs_more_than_the_limit_keeps_what_fits() -> None:
    _core.release_memory()
    for _ in range(40):
        arrays = [_core.empty(False, (400 * MB,)) for _ in range(3)]
        del arrays
    assert kept() == 800
