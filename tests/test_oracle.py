"""The oracle against numbers worked out by hand."""

import math

import pytest

from tests import oracle


def test_jaccard_counts():
    assert oracle.jaccard(1, 2, 4) == pytest.approx(3 / 6)
    assert oracle.jaccard(0, 3, 0) == 1
    assert oracle.jaccard(0, 0, 0) == 0


def test_extension_of_two_pixels():
    # Above 0.25: the negative alone, Δ = 1/(1+1). Above 0: both, Δ = (1+1)/(1+1).
    assert oracle.extension([0.25, 0.5], [True, False], oracle.jaccard) == pytest.approx(
        0.25 * 1 + 0.25 * 0.5
    )


def test_extension_at_a_set_is_the_set_function():
    positive = [True, True, False, False, False]
    assert oracle.extension([1, 0, 1, 1, 0], positive, oracle.jaccard) == pytest.approx(3 / 4)


def test_slopes_of_two_pixels():
    assert oracle.slopes([0.25, 0.5], [True, False], oracle.jaccard) == pytest.approx([0.5, 0.5])


def test_mean_slopes_of_distinct_errors_are_the_slopes():
    errors, positive = [0.1, 0.7, 0.4, 0.2], [True, False, True, False]
    want = oracle.slopes(errors, positive, oracle.jaccard)
    assert oracle.mean_slopes(errors, positive, [1] * 4, oracle.jaccard) == pytest.approx(want)


def test_mean_slopes_of_a_tie():
    # Δ = (fn + fp) / (1 + fp) goes 0, 1, 1 with the positive first, and 0, 1/2, 1 otherwise.
    got = oracle.mean_slopes([0.3, 0.3], [True, False], [1, 1], oracle.jaccard)
    assert got == pytest.approx([3 / 4, 1 / 4])


def test_a_mass_of_two_is_two_pixels():
    twice = oracle.mean_slopes([0.5, 0.5, 0.2], [True, True, False], [1, 1, 1], oracle.jaccard)
    once = oracle.mean_slopes([0.5, 0.2], [True, False], [2, 1], oracle.jaccard)
    assert once == pytest.approx([twice[0] + twice[1], twice[2]])


def test_slopes_are_derivatives_of_the_extension():
    errors, positive = [0.1, 0.7, 0.4, 0.2], [True, False, True, False]
    step = 1e-6
    for i, slope in enumerate(oracle.slopes(errors, positive, oracle.jaccard)):
        up = [e + step * (k == i) for k, e in enumerate(errors)]
        down = [e - step * (k == i) for k, e in enumerate(errors)]
        ends = [oracle.extension(e, positive, oracle.jaccard) for e in (up, down)]
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, abs=1e-8)


def test_missed_positives_is_the_linear_sum():
    errors, positive = [0.1, 0.7, 0.4], [True, False, True]
    assert oracle.extension(errors, positive, oracle.missed_positives) == pytest.approx(0.5)


def test_tversky_of_one_and_one_is_jaccard():
    errors, positive = [0.1, 0.7, 0.4], [True, False, True]
    assert oracle.extension(errors, positive, oracle.tversky(1, 1)) == pytest.approx(
        oracle.extension(errors, positive, oracle.jaccard)
    )


def test_loss_of_three_pixels_by_hand():
    # p = s, 1-s for pixels 0 and 1, and t, 1-t for pixel 2, whose label 1 is less likely.
    s, t = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))
    loss, _ = oracle.lovasz_softmax([[2, 0], [0, 2], [1, 0]], [0, 1, 1])
    # class 0 (G = 1): errors 1-s +, 1-s -, t -:  t * 1/2 + (1-s) * (1 - 1/2); class 1 likewise
    assert loss == pytest.approx(0.5 * t + 0.5 * (1 - s))


def test_gradient_is_the_derivative_of_the_loss():
    rows = [[0.3, -1.0, 0.2], [1.5, 0.1, -0.4], [0.0, 0.7, 0.9], [-0.6, 0.25, 1.1]]
    labels = [0, 2, 1, 2]
    step = 1e-6
    _, gradient = oracle.lovasz_softmax(rows, labels, weight=[1, 2, 0.5])
    for i in range(4):
        for k in range(3):
            ends = []
            for sign in (1, -1):
                moved = [list(row) for row in rows]
                moved[i][k] += sign * step
                ends.append(oracle.lovasz_softmax(moved, labels, weight=[1, 2, 0.5])[0])
            assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(gradient[i][k], abs=1e-7)
