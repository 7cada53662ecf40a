"""The ``fastrnn`` command: train, sample, info.

Exit codes: 0 done; 1 the run failed (a package is missing, memory or disk is full, training
diverged); 2 the input is bad; 130 Ctrl-C; 141 the reader of the output has gone; SIGTERM ends the
process as usual. Every failure is one sentence on stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .._engine import refuses_setting
from .errors import CommandError
from .parser import build_parser

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments without the program's name; None takes ``sys.argv``.

    Returns
    -------
    int
        The exit code.
    """
    name = "fastrnn"
    try:
        arguments = build_parser().parse_args(argv)
        name = f"fastrnn {arguments.command}"
        # Subcommands are imported when asked for: `fastrnn info` needs NumPy alone.
        if arguments.command == "train":
            from .train import train as command
        elif arguments.command == "sample":
            from .sample import sample as command
        else:
            from .info import info as command
        command(arguments)
        sys.stdout.flush()
    except SystemExit as exit_request:  # argparse: --help is 0, bad arguments are 2
        return exit_request.code if isinstance(exit_request.code, int) else 2
    except CommandError as error:
        return _fail(name, str(error), 2)
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        return _fail(name, "out of memory; take a smaller model, batch or text", 1)
    except ImportError as error:
        return _fail(name, str(error).removeprefix("fastrnn: "), 2 if refuses_setting(error) else 1)
    except (FloatingPointError, OSError) as error:
        return _fail(name, str(error), 1)
    return 0


def _fail(name: str, message: str, code: int) -> int:
    print(f"{name}: error: {message}", file=sys.stderr)
    return code
