"""The accuracy statement, on the distributions that the docs publish."""

import pytest

from benchmarks import accuracy, distributions
from lovasz import error_bound


def by_contender(stage, pixels):
    return {(r.group, r.contender): r for r in accuracy.measure(stage, pixels)}


@pytest.fixture(scope="module")
def measured():
    return {stage: by_contender(stage, 100_000) for stage in distributions.STAGES}


@pytest.mark.parametrize("stage", distributions.STAGES)
def test_default_bins_reach_the_goals(measured, stage):
    for (_, contender), result in measured[stage].items():
        if contender == "histogram":
            assert result.loss_error <= 1e-4
            assert result.gradient_error <= 1e-2


def test_common_class_of_a_million_pixels_is_better_than_published():
    results = by_contender("trained", 1_000_000)
    ours = results["common (30 %)", "histogram"].gradient_error
    published = results["common (30 %)", "published"].gradient_error
    assert ours < published / 10


@pytest.mark.parametrize("stage", ["untrained", "early", "trained"])
def test_sorting_in_float32_is_exact_to_its_rounding(measured, stage):
    for (_, contender), result in measured[stage].items():
        if contender == "sort":
            assert result.loss_error < 1e-6
            assert result.gradient_error < 1e-4


def test_bound_is_far_above_what_is_measured():
    assert 1e-4 < error_bound(2048) < 1e-3
