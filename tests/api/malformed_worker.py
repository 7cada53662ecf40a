"""Makes the malformed calls [start, stop) in a process of its own: python malformed_worker.py ...

Before each call its number is written to the file PROGRESS, so that whoever started this process
knows which call ended it. Complaints go to standard output, one JSON object a line; the last line
is the number of calls made.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from malformed import Malformed, malformed

SHORTEST = 30  # letters of a sentence that says who, what and what instead
SLOWEST = 20  # seconds; a call that takes longer hangs


def complaint(wrong: Malformed) -> str | None:
    """Make the call; None if it was refused as it should be."""
    try:
        result = wrong.run()
    except (ValueError, TypeError) as error:
        if type(error) not in (ValueError, TypeError):
            return f"raised {type(error).__name__}, a special case: {error}"
        sentence = str(error)
    except BaseException as error:  # whatever it is, it is the finding
        return f"raised {type(error).__name__}: {error}"
    else:
        return f"was accepted and returned {type(result).__name__}"
    if not sentence.startswith(f"{wrong.call}: "):
        return f"does not start with {wrong.call!r}: {sentence}"
    rest = sentence.removeprefix(f"{wrong.call}: ")
    if not any(re.search(rf"(^|\W){re.escape(word)}(\W|$)", rest) for word in wrong.words):
        return f"names none of {wrong.words}: {sentence}"
    if len(sentence) < SHORTEST or "\n" in sentence:
        return f"is no sentence: {sentence!r}"
    return None


def crash() -> None:
    ctypes.string_at(0)


def wrong_exception() -> None:
    raise IndexError("list index out of range")


def mute() -> None:
    raise ValueError("canary: wrong")


CANARIES: dict[str, Callable[[], None]] = {
    "crash": crash,
    "accepted": lambda: None,
    "exception": wrong_exception,
    "mute": mute,
}


def main(start: int, stop: int, progress: str, canary: str, canary_at: int) -> None:
    """Make the calls; at number `canary_at` the canary instead."""
    faulthandler.enable()
    warnings.simplefilter("ignore")  # np.broadcast_to and casts of strange dtypes
    file = os.open(progress, os.O_WRONLY | os.O_CREAT)
    made: Counter[str] = Counter()
    for number in range(start, stop):
        os.pwrite(file, f"{number:20d}".encode(), 0)
        faulthandler.dump_traceback_later(SLOWEST, exit=True)
        if number == canary_at:
            wrong = Malformed("canary", CANARIES[canary], "canary", ("argument",))
        else:
            wrong = malformed(number)
        found = complaint(wrong)
        made[f"{wrong.call}({wrong.what})"] += 1
        if found is not None:
            print(json.dumps({"number": number, "call": wrong.call, "complaint": found}))
    print(json.dumps(made))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))
