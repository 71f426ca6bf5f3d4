"""The theorem about soft labels: its statements, and its examples in the documentation.

``python -m benchmarks soft-theorem`` tries a million cases.
"""

import numpy as np
import pytest

from tests import oracle
from tools import soft_lovasz
from tools.soft_theorem import draw, statements, tried, without_the_cap


@pytest.fixture(scope="module")
def found():
    return tried(50_000)


def names_of(what):
    rng = np.random.default_rng(0)
    return [name for name, _ in what(rng, draw(rng, 1))]


@pytest.mark.parametrize("statement", names_of(statements))
def test_no_case_violates(found, statement):
    assert found[statement].cases == 50_000
    assert found[statement].violations == 0


def test_without_the_cap_everything_is_lost():
    assert all(found.violations > 10 for found in tried(20_000, without_the_cap).values())


@pytest.mark.parametrize(
    ("delta", "plain"),
    [
        (soft_lovasz.jaccard, oracle.jaccard),
        (soft_lovasz.tversky(0.5, 2.0), oracle.tversky(0.5, 2.0)),
    ],
)
def test_on_hard_labels_it_is_the_definition_in_plain_python(delta, plain):
    rng = np.random.default_rng(0)
    for count in range(1, 9):
        p, y = rng.integers(0, 4, count) / 3, rng.random(count) < 0.5
        errors = np.abs(p - y)
        got = soft_lovasz.loss(p, 1.0 * y, np.ones(count), delta)
        assert got == pytest.approx(oracle.extension(errors.tolist(), y.tolist(), plain))
        slopes = oracle.mean_slopes(errors.tolist(), y.tolist(), [1.0] * count, plain)
        gradient = soft_lovasz.gradient(p, 1.0 * y, np.ones(count), delta)
        np.testing.assert_allclose(gradient, np.where(y, -1, 1) * slopes, atol=1e-15)


def test_the_gradient_is_the_derivative():
    rng = np.random.default_rng(0)
    step = 1e-7
    for count in range(1, 9):
        p, q, weight = rng.random(count), rng.random(count), rng.uniform(0.5, 2, count)
        want = [
            (
                soft_lovasz.loss(p + step * unit, q, weight)
                - soft_lovasz.loss(p - step * unit, q, weight)
            )
            / (2 * step)
            for unit in np.eye(count)
        ]
        np.testing.assert_allclose(soft_lovasz.gradient(p, q, weight), want, atol=1e-6)


# One of ten pixels with the label 0.1 is predicted with s, the others with 0: docs/mathematics.md
THIN = {0.0: (0.1, 1.0), 0.1: (0.1, 0.9), 0.2: (0.1, 0.5), 1.0: (0.5, 0.9)}


@pytest.mark.parametrize("s", THIN)
def test_a_class_that_is_spread_thinly(s):
    p, q, weight = np.zeros(10), np.full(10, 0.1), np.ones(10)
    p[0] = s
    capped, uncapped = THIN[s]
    assert soft_lovasz.loss(p, q, weight) == pytest.approx(capped)
    delta = soft_lovasz.uncapped_jaccard
    assert soft_lovasz.loss(p, q, weight, delta) == pytest.approx(uncapped)
