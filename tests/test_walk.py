"""How far a reader has to walk: the files and functions that one call of the loss enters."""

import sys
from pathlib import Path

import torch

import lovasz
from lovasz.losses._first_calls import FIRST

PACKAGE = Path(lovasz.__file__).parent


def walk(call):
    """Files and names of the functions of the package that a call enters, in order."""
    entered = []

    def note(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and PACKAGE in path.parents:
            entered.append((path.relative_to(PACKAGE).as_posix(), frame.f_code.co_name))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    return entered


def test_a_call_enters_few_files_and_functions():
    logits = torch.randn(1, 19, 8, 8, requires_grad=True)
    target = torch.randint(19, (1, 8, 8))
    for _ in range(FIRST):  # what is loaded once, and what the first calls alone are looked at for
        lovasz.lovasz_softmax(logits, target)
    entered = walk(lambda: lovasz.lovasz_softmax(logits, target))
    assert len({file for file, _ in entered}) <= 10, entered
    assert len(entered) <= 45, entered
