"""The one exception for bad input, and the sentences for files that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["CommandError", "read_bytes", "writable_folder"]


class CommandError(Exception):
    """Bad input: one sentence for stderr, exit code 2."""


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def read_bytes(path: str, what: str) -> bytes:
    """The file's contents; CommandError when it is missing, a folder or unreadable."""
    try:
        return Path(path).read_bytes()
    except IsADirectoryError:
        raise CommandError(f"{path} is a folder, expected {what}") from None
    except FileNotFoundError:
        raise CommandError(f"{path} does not exist, expected {what}") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({_reason(error)})") from None
    except ValueError as error:  # a NUL character in the name
        raise CommandError(f"{path!r} is no file name ({error})") from None


def writable_folder(path: str) -> Path:
    """The folder, made if needed; CommandError when nothing can be written into it."""
    folder = Path(path)
    probe = folder / f".fastrnn-{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CommandError(
            f"cannot write into {path} ({_reason(error)}); give another folder with --out"
        ) from None
    except ValueError as error:
        raise CommandError(f"{path!r} is no folder name ({error})") from None
    return folder
