from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lovasz.train.errors import UserError
from lovasz.train.outputs import described, outputs

FULL, HALF, QUARTER = (torch.randn(2, 5, side, side) for side in (8, 4, 2))
FEATURES = torch.randn(2, 64, 2, 2)


class ModelOutput(OrderedDict):
    """As transformers has them: a dictionary whose entries are attributes too."""

    def __getattr__(self, name):
        return self[name]


@dataclass
class Output:
    logits: Any
    loss: Any = None
    aux_logits: Any = None
    hidden_states: Any = None


class Slots:
    __slots__ = ("logits",)


class Computed:
    @property
    def logits(self):
        return FULL


def slots():
    result = Slots()
    result.logits = FULL
    return result


Named = namedtuple("Named", ["aux", "out"])

READ = {
    "a tensor": (FULL, [FULL]),
    "a list": ([FULL, HALF, QUARTER], [FULL, HALF, QUARTER]),
    "a tuple with nothing in evaluation": ((FULL, None), [FULL]),
    "one in a tuple": ((QUARTER,), [QUARTER]),
    "MONAI's stack": (torch.stack([FULL, -FULL, 2 * FULL], 1), [FULL, -FULL, 2 * FULL]),
    "torchvision": (OrderedDict(out=FULL, aux=-FULL), [FULL, -FULL]),
    "the main one last": ({"aux_1": HALF, "aux_2": QUARTER, "out": FULL}, [FULL, HALF, QUARTER]),
    "out alone": ({"out": FULL}, [FULL]),
    "with features": ({"features": FEATURES, "out": FULL, "pooled": torch.ones(2, 5)}, [FULL]),
    "numbers as names": ({0: HALF, "out": FULL}, [FULL, HALF]),
    "transformers": (ModelOutput(loss=torch.ones(()), logits=QUARTER), [QUARTER]),
    "inner layers": (ModelOutput(logits=QUARTER, hidden_states=(FULL, HALF)), [QUARTER]),
    "a dataclass": (Output(QUARTER, torch.ones(()), HALF, (FULL,)), [QUARTER, HALF]),
    "an object": (SimpleNamespace(logits=HALF, extra="text"), [HALF]),
    "slots": (slots(), [FULL]),
    "a property": (Computed(), [FULL]),
    "a named tuple": (Named(HALF, FULL), [FULL, HALF]),
    "nested": ([{"out": FULL, "aux": [HALF, QUARTER]}, (HALF,)], [FULL, HALF, QUARTER, HALF]),
    "a list in out": ({"out": [FULL, HALF], "aux": QUARTER}, [FULL, HALF, QUARTER]),
    "16 bits": (FULL.bfloat16(), [FULL.bfloat16()]),
}


@pytest.mark.parametrize("name", READ)
def test_outputs_with_the_main_one_first(name):
    result, expected = READ[name]
    found = outputs(result)
    assert len(found) == len(expected)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


WRONG = {
    r"None": None,
    r"an empty list": [],
    r"an empty dict": {},
    r"str": "logits",
    r"\(2, 5\)": torch.ones(2, 5),
    r"\(2, 8, 8\) int64": FULL.argmax(1),
    r"\(2, 1, 8, 8\) bool": FULL[:, :1] > 0,
    r"dict of masks: \(2, 5, 8, 8\) and class_queries: \(2, 100, 6\)": {
        "masks": FULL,
        "class_queries": torch.ones(2, 100, 6),
    },
    r"\(2, 3\)": (FULL, torch.ones(2, 3)),
    r"float": [FULL, 0.5],
    r"dict of out: an empty tuple": {"out": ()},
    r"SimpleNamespace": SimpleNamespace(masks=FULL),
}


@pytest.mark.parametrize("got", WRONG)
def test_anything_else_is_one_sentence(got):
    with pytest.raises(UserError, match=rf"^model: expected the network to .*, got {got}$"):
        outputs(WRONG[got])


def test_long_results_are_described_in_short():
    text = described({f"p{k}": torch.ones(k) for k in range(9)})
    assert text == "dict of p0: (0,), p1: (1,), p2: (2,), p3: (3,) and 5 more"
