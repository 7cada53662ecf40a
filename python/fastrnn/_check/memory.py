"""Refuse what cannot fit, before anything is allocated.

Allocators promise memory that does not exist and the system ends the process when it is used, so
an argument with a digit too many must be caught by arithmetic. Only lower bounds are compared:
a call that could work is never refused.
"""

from __future__ import annotations

import functools
import os

_ADDRESS_SPACE = 2**47


@functools.cache
def _machine_bytes() -> int:
    """Memory and swap of this machine; the address space where it cannot be asked."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            sizes = dict(line.split(":") for line in lines)
        return 1024 * sum(int(sizes[key].split()[0]) for key in ("MemTotal", "SwapTotal"))
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return _ADDRESS_SPACE


def fits(call: str, name: str, given: str, result: str, needed: int, advice: str) -> None:
    """Raise ValueError unless `needed` bytes could exist on this machine."""
    if needed > _machine_bytes():
        raise ValueError(
            f"{call}: {name} has {given}, so {result} would take {human(needed)}, "
            f"more than this machine's {human(_machine_bytes())}; {advice}"
        )


def human(count: int) -> str:
    """Bytes for people: 1536 -> '1.5 KiB'."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.3g} ZiB"
