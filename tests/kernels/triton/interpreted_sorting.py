"""Weights of pixels, the complement and clouds in the GPU sort, in Triton's interpreter.

The errors of the hinge are rounded once, as in the reference, so that their order is the same.
"""

import pytest

from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from tests.kernels.cases import IGNORE
from tests.kernels.sorting_checks import channels_of, check, check_classes, clouds_of
from tests.pairwise import pairwise

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.usefixtures("poison"),
]

OFTEN = [False, True]


@pytest.mark.parametrize(
    ("length", "per_image", "symmetric", "weighted", "tversky"),
    pairwise([1, 23, 2100], OFTEN, OFTEN, OFTEN, [(1.0, 1.0), (0.3, 2.0)]),
)
def test_channels(length, per_image, symmetric, weighted, tversky):
    scores, target, weight = channels_of((2, 3, length))
    arguments = (scores, target, IGNORE, per_image, "hinge", *tversky, symmetric)
    weight = weight if weighted else None
    check(gpu.sort_and_extend(*arguments, weight), reference.sort_and_extend(*arguments, weight))


@pytest.mark.parametrize(
    ("sizes", "ascending", "symmetric", "weighted"),
    pairwise([[0, 3, 1, 0, 700, 0], [1500, 40, 1300], [5] * 30], OFTEN, OFTEN, OFTEN),
)
def test_clouds(sizes, ascending, symmetric, weighted):
    ids = clouds_of(sizes, ascending=ascending)
    scores, target, weight = channels_of((1, 3, ids.shape[1]))
    weight = weight if weighted else None
    arguments = (
        *(scores, target, IGNORE, False, "hinge", 1.0, 1.0, symmetric, weight, ids),
        len(sizes),
    )
    check(gpu.sort_and_extend(*arguments), reference.sort_and_extend(*arguments))


@pytest.mark.parametrize(
    ("clouds", "symmetric", "weighted"), pairwise([None, [90, 0, 510]], OFTEN, OFTEN)
)
def test_classes(clouds, symmetric, weighted):
    check_classes(gpu, clouds, symmetric=symmetric, weighted=weighted)
