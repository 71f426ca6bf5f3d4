"""The rows of docs/migration.md: both sides have the same value and the same gradient.

The old side runs on `lovasz.compat`, which tests/test_compat_peers.py compares with the libraries
themselves. Rows are read from the page, and none is left out unless it is named here.
"""

import functools
import inspect
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lovasz
from lovasz import compat
from lovasz.compat import (
    catalyst,
    kornia,
    lovasz_losses,
    mmdet3d,
    mmseg,
    monai,
    paddleseg,
    pointcept,
    smp,
    toolbelt,
)
from lovasz.metrics import DatasetIoU
from tests.gradients import value_and_gradient

PAGE = (Path(__file__).parents[1] / "docs" / "migration.md").read_text()
C, WEIGHT = 4, [1.0, 2.0, 0.5, 4.0]
MODULES = {
    "The authors' file": lovasz_losses,
    "segmentation-models-pytorch": smp,
    "kornia": kornia,
    "pytorch-toolbelt": toolbelt,
    "Catalyst": catalyst,
    "mmsegmentation": mmseg,
    "mmdetection3d": mmdet3d,
    "PaddleSeg": paddleseg,
    "Pointcept": pointcept,
    "MONAI": monai,
}
# What is no loss of logits and labels.
OTHERS = ("upsampling=4", "resize(seg_logits", "iou(pred")


def rows():
    """Section, old and new side of every row of the tables of calls."""
    for section in re.split(r"^## ", PAGE, flags=re.M)[1:]:
        title, text = section.split("\n", 1)
        for table in re.findall(r"^\| old \| new \|\n\|---\|---\|\n((?:\|.*\n)+)", text, re.M):
            for row in table.splitlines():
                yield title, *row.strip("| ").split(" | ")


ROWS = list(rows())
LOSSES = [row for row in ROWS if not any(word in row[1] for word in OTHERS)]


def sorting(function):
    """The same, and exact where nobody has chosen: counting would be off by its bound."""
    if inspect.isclass(function) and not issubclass(function, nn.Module):
        return function
    takes = "method" in inspect.signature(function).parameters
    return functools.partial(function, method="sort") if takes else function


def cross_entropy(ignore_index=255, avg_non_ignore=True):
    """That of mmsegmentation, Pointcept and PaddleSeg, with what the table asks for."""
    assert avg_non_ignore
    return nn.CrossEntropyLoss(ignore_index=ignore_index)


def names_of(module):
    """Public names of a module of the package."""
    return {name: sorting(getattr(module, name)) for name in module.__all__ if name[0] != "_"}


def names(section):
    """What the two sides of a row are written in."""
    ours = {name: getattr(lovasz, name) for name in lovasz.__all__}
    ours = {name: sorting(value) for name, value in ours.items() if "ovasz" in name}
    theirs = names_of(MODULES[section]) | {"F": F, "CrossEntropyLoss": cross_entropy}
    for known in (ours, theirs):
        known["dict"] = functools.partial(configured, known)
    return theirs, ours


def configured(known, type, **options):  # noqa: A002 (as registries call it)
    """A loss that a registry builds."""
    own = "ignore_index" in inspect.signature(known[type]).parameters
    if own and "Lovasz" in type and "ignore_index" not in options:
        options["ignore_index"] = 255  # by the head
    return known[type](**options)


def as_loss(value, x, y):
    """A number, from a number, a module, or several of them."""
    if isinstance(value, (list, tuple)):
        return sum(as_loss(part, x, y) for part in value)
    if callable(value):
        value = value(x, y)
        return as_loss(value, x, y)
    return value


def draw(section, old):
    """Logits (float64), labels, and the names that a row may use besides."""
    one = "hinge" in old.lower() or "inary" in old or "x1" in old or "p1" in old
    pair = "two channels" in old
    label = -1 if section == "Pointcept" else 255
    if "multilabel" in old or "MultiLabel" in old:
        y = torch.randint(2, (3, C, 5, 4))
        return torch.randn(y.shape, dtype=torch.float64), y
    y = torch.randint(2 if one or pair else C, (3, 5, 4))
    ignoring = f"={label}" in old or ", 255" in old
    ignoring |= section in ("mmsegmentation", "mmdetection3d", "PaddleSeg")
    if ignoring and "index=0" not in old:
        y[:, 0] = label
    channels = 2 if pair else 1 if one else C
    shape = (3, 5, 4) if "x1" in old or "p1" in old else (3, channels, 5, 4)
    if section == "MONAI":
        y = y.unsqueeze(1)
    return 2 * torch.randn(shape, dtype=torch.float64), y


def code_of(side):
    return re.search(r"`([^`]*)`", side)[1]


@pytest.mark.parametrize("row", LOSSES, ids=lambda row: f"{row[0]}: {row[1]}")
def test_both_sides_agree(row):
    section, old, new = row
    x, y = draw(section, old)
    theirs, ours = names(section)

    def evaluated(code, known):
        def loss(x):
            made = {"x": x, "y": y, "w": WEIGHT, "p": x.softmax(1) if x.dim() > 3 else None}
            made |= {"x1": x, "y1": y, "p1": x.sigmoid()}
            return as_loss(eval(code, {**known, **made}), x, y)

        return value_and_gradient(loss, x)

    got, want = evaluated(code_of(new), ours), evaluated(code_of(old), theirs)
    fused = "ross" in new and "ntropy" in new  # which count, and have no other method
    bound = 1e-4 if fused else 1e-9
    assert got[0].item() == pytest.approx(want[0].item(), rel=bound)
    difference = (got[1] - want[1]).norm() / want[1].norm()
    assert difference < bound
    assert want[1].any()


def test_ious():
    ((_, _, new),) = (row for row in ROWS if row[1].startswith("`iou("))
    prediction, target = torch.randint(C - 1, (2, 3, 5, 4))
    target[0, 0] = 255
    metric = eval(code_of(new).replace("lovasz.metrics.", ""), {"DatasetIoU": DatasetIoU, "C": C})
    metric.update(prediction, target)
    theirs = lovasz_losses.iou(prediction, target, C, ignore=255)
    assert (100 * metric.compute()).tolist() == pytest.approx(theirs.tolist())


def test_every_row_is_tested_or_named():
    assert {section for section, *_ in ROWS} == MODULES.keys()
    left_out = [row for row in ROWS if row not in LOSSES]
    assert [sum(word in row[1] for row in left_out) for word in OTHERS] == [1, 1, 1]


def test_every_module_is_on_the_page():
    folder = Path(compat.__file__).parent
    modules = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    named = set(re.findall(r"from lovasz\.compat(?:\.| import )(\w+)", PAGE))
    assert modules <= named


def test_false_alarms_on_an_ignored_background_are_free():
    """What the page on the choice of a loss says of `ignore_index=0`."""
    logits = torch.randn(1, 4, 6, 6)
    target = torch.zeros(1, 6, 6, dtype=torch.long)
    target[0, 0] = 2
    background = (target == 0).expand(4, 6, 6)
    _, ignored = value_and_gradient(
        lambda x: lovasz.lovasz_softmax(x, target, ignore_index=0), logits
    )
    _, counted = value_and_gradient(
        lambda x: lovasz.lovasz_softmax(x, target, classes=[1, 2, 3]), logits
    )
    assert not ignored[0][background].any()
    assert counted[0][:, 1:].any()
    assert counted[0][background].any()
