"""torch's module database: every input that must be refused, in torch's words."""

from __future__ import annotations

import re
from typing import Any

import pytest
from module_database import DTYPES, ERROR_INPUTS, MODES, error_inputs, torch
from proof_subject import cls, torch_cls
from trees import fresh

CASES = [
    (name, index, dtype, mode)
    for name, count in ERROR_INPUTS.items()
    for index in range(count)
    for dtype in DTYPES
    for mode in MODES
]


def refusal(kind: Any, given: Any, dtype: str, training: bool) -> Exception:
    """What constructing, or calling, the class raises."""
    from torch.testing._internal.common_modules import ModuleErrorEnum

    wrong = given.module_error_input
    constructor = wrong.constructor_input
    if given.error_on is ModuleErrorEnum.CONSTRUCTION_ERROR:
        with pytest.raises(given.error_type) as caught:
            kind(*constructor.args, **constructor.kwargs)
        return caught.value
    assert given.error_on is ModuleErrorEnum.FORWARD_ERROR
    module = kind(*constructor.args, **constructor.kwargs)
    module = module.to(getattr(torch, dtype)).train(training)
    with pytest.raises(given.error_type) as caught:
        module(*fresh(wrong.forward_input.args), **fresh(wrong.forward_input.kwargs))
    return caught.value


@pytest.mark.parametrize(("name", "index", "dtype", "mode"), CASES)
def test_refused(name: str, index: int, dtype: str, mode: str) -> None:
    given = error_inputs(name, dtype, mode == "train")[index]
    ours = refusal(cls(name), given, dtype, mode == "train")
    assert re.search(given.error_regex, str(ours)), str(ours)
    theirs = refusal(torch_cls(name), given, dtype, mode == "train")
    assert type(ours) is type(theirs)
    assert str(ours) == str(theirs)


def test_all_are_counted() -> None:
    assert sum(ERROR_INPUTS.values()) == 58
    assert len(CASES) == 4 * 58
