"""The accuracy statement, on the distributions that the docs publish."""

import pytest

from benchmarks import accuracy, distributions
from benchmarks.accuracy import COMMON, RARE, WHOLE
from lovasz import error_bound

EASY = ("untrained", "random", "early", "trained", "converged")
CONFIDENT = [stage for stage in distributions.STAGES if stage not in EASY]


def by_contender(stage, pixels, classes):
    return {(r.group, r.contender): r for r in accuracy.measure(stage, pixels, classes)}


@pytest.fixture(scope="module")
def measured():
    return {stage: by_contender(stage, 20_000, 5) for stage in distributions.STAGES}


@pytest.mark.parametrize("stage", distributions.STAGES)
def test_default_bins_are_as_exact_as_the_docs_say(measured, stage):
    found = measured[stage]
    assert all(r.loss_error <= 1e-4 for r in found.values())
    most = {"margin 13": 1.5e-2, "margin 16": 1e-2}.get(stage.partition(",")[0], 6e-3)
    for group in (WHOLE, COMMON):
        # At 16 a float32 has no digits left.
        least = found[group, "sort"].gradient_error if stage.startswith("margin 16") else 0.0
        assert found[group, "histogram"].gradient_error <= most + least


@pytest.mark.parametrize("stage", CONFIDENT)
def test_sorting_is_no_less_exact_than_as_published(measured, stage):
    for group in accuracy.GROUPS:
        sort = measured[stage][group, "sort"].gradient_error
        assert sort <= 1.5 * measured[stage][group, "published"].gradient_error + 1e-5


def test_common_class_of_many_pixels_is_better_than_published():
    results = by_contender("trained", 300_000, 5)
    ours = results[COMMON, "histogram"].gradient_error
    assert ours < results[COMMON, "published"].gradient_error / 5


@pytest.mark.parametrize("stage", EASY)
def test_sorting_in_float32_is_exact_to_its_rounding(measured, stage):
    for group in (WHOLE, COMMON, RARE):
        result = measured[stage][group, "sort"]
        assert result.loss_error < 1e-6
        assert result.gradient_error < 1e-4


@pytest.mark.parametrize("stage", ["untrained", "trained", "margin 10, 30% wrong"])
@pytest.mark.parametrize("loss", accuracy.CHANNELS)
def test_channels_are_as_exact_as_the_docs_say(loss, stage):
    found = {(r.group, r.contender): r for r in accuracy.measure_channel(loss, stage, 20_000)}
    assert found[COMMON, "histogram"].gradient_error < 1.5e-2
    assert found[COMMON, "sort"].gradient_error < 1e-3


def test_bound_is_far_above_what_is_measured():
    assert 1e-4 < error_bound(2048) < 1e-3
