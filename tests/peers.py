"""What the tests of losses of other libraries share."""

import pytest
import torch
from torch.nn import functional as F

from tests.gradients import relative, value_and_gradient
from tools.peers import part_of

CLASSES = 5
SIZE = (3, CLASSES, 6, 5, 4)
WEIGHT = [1.0, 0.5, 3.0, 0.25, 2.0]


def library(package, part, **options):
    try:
        return part_of(package, part, **options)
    except ImportError as error:
        return pytest.skip(f"{package} is not installed ({error})")


def draw(dtype=torch.float32):
    """Logits, and labels of all but the last class, which is absent."""
    target = torch.randint(CLASSES - 1, (SIZE[0], *SIZE[2:]))
    return (2 * torch.randn(SIZE)).to(dtype), target


def one_hot(target):
    return F.one_hot(target, CLASSES).movedim(-1, 1)


def with_ignored(target, label=CLASSES):
    return target.masked_fill(torch.rand(target.shape) < 0.3, label)


def soft():
    return (2 * torch.randn(SIZE)).softmax(1)


def same(logits, ours, theirs, bound=1e-6):
    """Both value and gradient, up to rounding."""
    got, want = value_and_gradient(ours, logits), value_and_gradient(theirs, logits)
    assert relative(got[0], want[0]) < bound
    assert relative(got[1], want[1]) < bound


def differ(logits, ours, theirs):
    got, want = value_and_gradient(ours, logits), value_and_gradient(theirs, logits)
    assert relative(got[0], want[0]) > 1e-3
