"""Counting in shared memory, in Triton's interpreter: the tests of counting in registers, again.

What is PTX on a device is emulated here; that it compiles is tested in ``test_compiles.py``.
"""

import pytest
import torch

from lovasz.ops import gpu, reference
from lovasz.ops.gpu import blocks
from tests.gpu import interpreted_channels as of_channels
from tests.gpu.emulated import emulate
from tests.gpu.interpreted import (  # noqa: F401
    BINS,
    check_count,
    test_any_number_of_bins,
    test_bool_labels_and_strided_labels,
    test_both_methods_against_the_definition,
    test_cross_entropy_rides_along,
    test_every_label_dtype,
    test_extreme_logits,
    test_few_classes,
    test_ignored_pixels_may_have_any_scores,
    test_impossible_labels_are_counted,
    test_masked_classes,
    test_more_pixels_than_a_program_takes,
    test_nothing_waits_for_the_device,
    test_scores_that_are_no_numbers,
)
from tests.ops.cases import IGNORE, LAYOUTS, labels_of, scores_of

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

test_channels = of_channels.test_both_passes_are_the_reference
test_channels_of_any_number_of_bins = of_channels.test_any_number_of_bins
test_channels_with_cross_entropy = of_channels.test_cross_entropy_rides_along
test_channels_of_more_pixels = of_channels.test_more_pixels_than_a_program_takes


@pytest.fixture(autouse=True)
def shared(monkeypatch):
    emulate(monkeypatch)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 150, 300), (1, 1001, 70)])
def test_more_classes_than_the_table_holds(shape, layout):
    scores, target = scores_of(shape, layout, torch.float32, 3.0), labels_of(shape)
    assert blocks.table_of(scores, BINS).groups > 1
    check_count(scores, target, False)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 4, 7), (2, 19, 2100)])
def test_small_tables(shape, layout, per_image, monkeypatch):
    monkeypatch.setattr(blocks, "TABLE_CELLS", 4500)
    monkeypatch.setattr(blocks, "TALLIES", 2)
    scores, target = scores_of(shape, layout, torch.float32, 3.0), labels_of(shape)
    table = blocks.table_of(scores, BINS)
    assert table.groups > 1 or shape[1] == 4
    assert table.cells <= 4608
    check_count(scores, target, per_image)


def test_ignored_pixels_of_masked_classes_count_nothing():
    scores, target = torch.randn(1, 19, 100), torch.randint(19, (1, 100))
    scores[:, 3], target[0, ::2] = -float("inf"), IGNORE
    target[target == 3] = IGNORE
    check_count(scores, target, False)


@pytest.mark.parametrize("scale", [0.0, 0.1, 5.0])
def test_few_and_many_errors_above_the_window(scale):
    shape = (1, 19, 700)
    scores, target = scores_of(shape, "pixels", torch.float32, scale), labels_of(shape)
    scores[0, 5] += 4 * scale  # which many pixels are taken for
    counts = gpu.count(scores, target, BINS, IGNORE, False, True)[0]
    expected = reference.count(scores, target, BINS, IGNORE, False, True)[0]
    above = counts[..., blocks.table_of(scores, BINS).window :].sum((0, 1, 3))
    assert (above[0] > 0) == (scale > 1)
    assert torch.equal(counts.sum(-1), expected.sum(-1))


@pytest.mark.parametrize("classes", [2, 19])
def test_errors_of_one_are_in_the_last_bin(classes):
    target = torch.full((1, 40), classes - 1)
    scores = torch.nn.functional.one_hot(target * 0, classes).transpose(1, 2) * 100.0
    counts = gpu.count(scores, target, BINS, None, False, True)[0]
    assert counts[0, 0, 0, -1] == 40
    assert counts[0, -1, 1, -1] == 40
    assert torch.equal(counts, reference.count(scores, target, BINS, None, False, True)[0])
