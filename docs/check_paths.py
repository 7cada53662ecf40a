"""Every file that the documentation names exists: python docs/check_paths.py

Checked are the targets of relative Markdown links, and paths in backticks that begin with a folder
of the repository. Names with a placeholder, such as `csrc/cells/<cell>.h`, are skipped.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("bench", "cmake", "csrc", "docs", "examples", "python", "tests")


def wrong_paths(file: Path) -> list[str]:
    """Every path in `file` that does not exist."""
    text = file.read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", text)
    missing = [link for link in links if "://" not in link and not (file.parent / link).exists()]
    missing += [name for name in named if not (ROOT / name).exists()]
    return [f"{file.relative_to(ROOT)} names {name}, which does not exist" for name in missing]


def main() -> int:
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")]
    wrong = [line for file in sorted(files) for line in wrong_paths(file)]
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
