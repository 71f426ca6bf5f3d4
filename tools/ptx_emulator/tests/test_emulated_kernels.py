"""The kernels for NVIDIA devices, compiled, on the emulator of PTX.

Every address is watched, and every pair of threads that a barrier has to keep apart. A selection of
what Triton's interpreter runs (``tests/kernels/triton/interpreted*.py``), because compiling takes
most of the time; kernels that only other devices run are left to it.
"""

import re

import pytest
import torch

from lovasz.core.upsampling import KERNEL_MODES, LINEAR, NEAREST
from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from lovasz.kernels.fixed_point import SCALE
from lovasz.kernels.triton import blocks
from tests.kernels import multilabel_checks, soft_checks
from tests.kernels.cases import IGNORE, LAYOUTS, factors_of, labels_of, scores_of
from tests.kernels.triton import (
    interpreted,
    interpreted_extension,
    interpreted_multilabel,
    interpreted_soft,
    interpreted_upsampling,
)
from tests.kernels.triton.interpreted import (  # noqa: F401
    BINS,
    DTYPES,
    LARGE,
    SMALL,
    check_histogram,
    test_any_number_of_bins,
    test_bool_labels_and_strided_labels,
    test_both_methods_against_the_definition,
    test_cross_entropy_of_the_same_passes,
    test_equal_errors_share_their_slopes,
    test_every_label_dtype,
    test_extreme_logits,
    test_ignored_pixels_may_have_any_scores,
    test_impossible_labels_are_counted,
    test_many_classes,
    test_masked_classes,
    test_more_pixels_than_a_program_takes,
    test_nothing_waits_for_the_device,
    test_nothing_waits_for_the_device_with_multilabel_links,
    test_scores_that_are_no_numbers,
    test_sort_and_backward_of_narrow_scores,
)
from tests.kernels.triton.interpreted_losses import (  # noqa: F401
    by_kernels,
    test_few_launches,
    test_losses_and_gradients,
)
from tools.ptx_emulator import launching
from tools.ptx_emulator.launching import execute


@pytest.fixture(autouse=True)
def emulator(monkeypatch):
    return launching.use_emulator(monkeypatch)


def in_turn(shapes, *options):
    """Every shape with every layout, and the options in turn."""
    pairs = [(shape, layout) for shape in shapes for layout in LAYOUTS]
    return [
        (*pair, *(values[(i + i // 3) % len(values)] for values in options))
        for i, pair in enumerate(pairs)
    ]


GROUPED = [False, True]


@pytest.mark.parametrize(("shape", "layout", "dtype", "per_image"), in_turn(SMALL, DTYPES, GROUPED))
def test_few_classes(shape, layout, dtype, per_image):
    interpreted.test_few_classes(shape, layout, dtype, per_image)


@pytest.mark.parametrize(
    ("link", "kind", "layout", "weighted"),
    [
        ("softmax", "floats", "pixels", False),
        ("softmax", "maps", "classes", True),
        ("sigmoid", "labels", "neither", False),
        ("probabilities", "floats", "pixels", True),
    ],
)
def test_soft_labels(link, kind, layout, weighted):
    case = soft_checks.case_of((2, 3, 1100), link, kind, layout, weighted=weighted, bins=3000)
    interpreted_soft.check(case)


@pytest.mark.parametrize(("link", "weighted"), [("softmax", False), ("sigmoid", True)])
def test_clouds_with_soft_labels(link, weighted):
    interpreted_soft.test_clouds(link, "floats", weighted)


@pytest.mark.parametrize("architecture", [80, 100])
@pytest.mark.parametrize("layout", ["pixels", "classes"])
def test_other_architectures(layout, architecture, monkeypatch):
    monkeypatch.undo()
    launching.use_emulator(monkeypatch, architecture)
    interpreted.test_few_classes((2, 19, 257), layout, torch.bfloat16, False)
    multilabel_checks.check_histogram(gpu, (2, 5, 257), layout, "sigmoid", False)
    multilabel_checks.check_backward(gpu, (2, 5, 257), layout, "sigmoid", False)


@pytest.mark.parametrize(
    ("shape", "layout", "per_image", "weights"),
    in_turn([(1, 1, 1), (2, 19, 257)], GROUPED, [(1.0, 1.0), (0.3, 2.0)]),
)
def test_sort_is_the_reference(shape, layout, per_image, weights):
    interpreted.test_sort_is_the_reference(shape, layout, per_image, weights)


@pytest.mark.parametrize(
    ("shape", "layout", "per_image", "cross_entropy"),
    in_turn([(3, 4, 7), (1, 150, 300)], GROUPED, [True, False]),
)
def test_weights_of_pixels(shape, layout, per_image, cross_entropy):
    interpreted.test_weights_of_pixels(shape, layout, per_image, cross_entropy)


@pytest.mark.parametrize(
    ("shape", "layout", "link", "per_image"),
    in_turn(interpreted_multilabel.SHAPES, interpreted_multilabel.LINKS, GROUPED),
)
def test_multilabel(shape, layout, link, per_image):
    interpreted_multilabel.test_both_passes_are_the_reference(shape, layout, link, per_image)
    interpreted_multilabel.test_sort_is_the_reference(shape, link, per_image)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_multilabel_in_bfloat16_with_weights_and_cross_entropy(layout):
    interpreted_multilabel.test_narrow_scores(torch.bfloat16, layout)
    interpreted_multilabel.test_cross_entropy_of_the_same_passes((2, 19, 257), layout == "pixels")
    interpreted_multilabel.test_weights_of_pixels("hinge", layout == "pixels")


@pytest.mark.parametrize("bins", [2, 100, 8192])
def test_multilabel_of_any_number_of_bins(bins):
    interpreted_multilabel.test_any_number_of_bins(bins, "sigmoid")


def test_multilabel_of_more_pixels():
    interpreted_multilabel.test_more_pixels_than_a_program_takes("sigmoid")


@pytest.mark.parametrize(
    ("bins", "weights", "scale", "unbounded"),
    [
        (2, (1.0, 1.0), 1, False),
        (100, (0.3, 2.0), SCALE, True),
        (1024, (1.0, 1.0), 1, False),
        (2048, (0.5, 0.5), 1, False),
    ],
)
def test_extend_is_the_formula(bins, weights, scale, unbounded):
    interpreted_extension.test_extend_is_the_formula(bins, weights, scale, unbounded)


@pytest.mark.parametrize("weighting", ["none", "normalized"])
@pytest.mark.parametrize("shape", [(1, 19), (5, 3)])
def test_the_reduction_is_the_reference(shape, weighting):
    options = (True, shape[0] > 1, False)
    interpreted_extension.test_the_reduction_is_the_reference(shape, weighting, *options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("classes", [2, 4, 16, 20, 64])
def test_points_whose_classes_are_loaded_at_once(classes, dtype):
    interpreted.test_points_whose_classes_are_loaded_at_once(classes, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", LARGE)
def test_more_classes_than_the_table_holds(shape, layout):
    scores, target = scores_of(shape, layout, torch.float32, 3.0), labels_of(shape)
    assert blocks.table_of(scores, BINS).parts > 1
    check_histogram(scores, target, False)


@pytest.mark.parametrize(
    ("shape", "layout", "per_image"), in_turn([(3, 4, 7), (2, 19, 2100)], GROUPED)
)
def test_small_tables(shape, layout, per_image, monkeypatch):
    monkeypatch.setattr(blocks, "TABLE_CELLS", 4500)
    monkeypatch.setattr(blocks, "SHARED_PROGRAMS", 2)
    scores, target = scores_of(shape, layout, torch.float32, 3.0), labels_of(shape)
    table = blocks.table_of(scores, BINS)
    assert table.parts > 1 or shape[1] == 4
    assert table.cells <= 4608
    check_histogram(scores, target, per_image)


def test_ignored_pixels_of_masked_classes_count_nothing():
    scores, target = torch.randn(1, 19, 100), torch.randint(19, (1, 100))
    scores[:, 3], target[0, ::2] = -float("inf"), IGNORE
    target[target == 3] = IGNORE
    check_histogram(scores, target, False)


@pytest.mark.parametrize("scale", [0.0, 0.1, 5.0])
def test_few_and_many_errors_above_the_window(scale):
    shape = (1, 19, 700)
    scores, target = scores_of(shape, "pixels", torch.float32, scale), labels_of(shape)
    scores[0, 5] += 4 * scale  # which many pixels are taken for
    counts = gpu.histogram(scores, target, BINS, IGNORE, False, "softmax")[0]
    expected = reference.histogram(scores, target, BINS, IGNORE, False, "softmax")[0]
    above = counts[..., blocks.table_of(scores, BINS).window :].sum((0, 1, 3))
    assert (above[0] > 0) == (scale > 1)
    assert torch.equal(counts.sum(-1), expected.sum(-1))


@pytest.mark.parametrize("classes", [2, 19])
def test_errors_of_one_are_in_the_last_bin(classes):
    target = torch.full((1, 40), classes - 1)
    scores = torch.nn.functional.one_hot(target * 0, classes).transpose(1, 2) * 100.0
    counts = gpu.histogram(scores, target, BINS, None, False, "softmax")[0]
    assert counts[0, 0, 0, -1] == 40
    assert counts[0, -1, 1, -1] == 40
    assert torch.equal(counts, reference.histogram(scores, target, BINS, None, False, "softmax")[0])


@pytest.mark.parametrize("mode", KERNEL_MODES)
def test_scores_of_another_resolution(mode):
    sizes = ((1, 2, 3), (1, 5, 9))
    interpreted_upsampling.test_enlarged_scores_and_shrunk_gradients(*sizes, mode)
    interpreted_upsampling.test_argmax(sizes, "classes", mode, torch.bfloat16, narrow=True)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_losses_of_another_resolution(link, monkeypatch):
    options = (link, 3, LINEAR, link == "softmax", link == "sigmoid")
    interpreted_upsampling.test_the_cross_entropy_alone(*options, monkeypatch)
    sizes = ((1, 3, 4), (1, 7, 12))
    if link == "softmax":
        options = (LINEAR, torch.bfloat16, "classes", True, 3000)
        interpreted_upsampling.test_both_passes(sizes, *options, monkeypatch)
    else:
        interpreted_upsampling.test_channels(sizes, NEAREST, link, False, 900, monkeypatch)


def all_kernels(scores, target):
    """Run every kernel for NVIDIA devices."""
    gpu.histogram(scores, target, BINS, IGNORE, False, "softmax", True, None, 0.1)
    counts, lse, *_ = gpu.histogram(scores, target, BINS, IGNORE, False, "softmax", False)
    slopes = gpu.extend(counts, 1.0, 1.0, False)[1]
    factors = factors_of(*slopes.shape[:2])
    for layout in (scores, scores.transpose(1, 2).contiguous().transpose(1, 2)):
        gpu.backward(layout, target, lse, slopes, factors, IGNORE, "softmax")
    gpu.sort_and_extend(scores, target, IGNORE, False, "softmax", 1.0, 1.0)
    labels = torch.randint(2, scores.shape)
    gpu.histogram(scores, labels, BINS, IGNORE, False, "sigmoid", True)


def test_no_barrier_can_be_spared(monkeypatch):
    """Without any one of its barriers a kernel is caught: the watch sees, and none is too much."""
    launches = {}

    def noting(launch, compiled, ptx):
        launches.setdefault(ptx, (launch, compiled))
        return execute(launch, compiled, ptx)

    monkeypatch.setattr(launching, "execute", noting)
    shape = (1, 45, 1100)
    scores, target = scores_of(shape, "pixels", torch.float32, 2.0), labels_of(shape)
    assert blocks.table_of(scores, BINS).parts == 2
    all_kernels(scores, target)
    kernels, unneeded = set(), set()
    for ptx, (launch, compiled) in launches.items():
        for index, found in enumerate(re.finditer(r"bar\.sync\s+0;", ptx)):
            name = launch.kernel.__name__.removesuffix("_kernel")
            kernels.add(name)
            try:
                execute(launch, compiled, ptx[: found.start()] + ptx[found.end() :])
            except AssertionError:
                continue
            unneeded.add((name, index))
    assert kernels == {
        "histogram_shared",
        "lse_and_positives",
        "histogram_multilabel",
        "backward_softmax",
        "extend_runs",
        "extend",
    }
    # Nothing is in the table before it is cleared for the first time.
    assert unneeded == {("histogram_shared", 0), ("histogram_multilabel", 0)}
