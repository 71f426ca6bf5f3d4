"""The theorem about soft labels, statement by statement, tried on random cases.

``docs/mathematics.md`` proves it. Cases are drawn to be hard: few pixels, ties, labels of 0 and 1
among soft ones, classes that are spread thinly, and weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from lovasz import error_bound
from lovasz.core.bins import centres, position
from tools.soft_lovasz import (
    Array,
    Delta,
    extension,
    gradient,
    is_below,
    jaccard,
    loss,
    tversky,
    uncapped_jaccard,
)

#: of values of about 1 that are computed in float64
ROUNDING = 1e-12
#: cases that are computed at a time
CHUNK = 5_000
MOST_PIXELS = 8


class Cases(NamedTuple):
    """Two predictions of the same soft labels, all (cases, pixels), and a set function."""

    p: Array
    other: Array
    q: Array
    weight: Array
    delta: Delta


class Found(NamedTuple):
    """How often a statement was wrong, and by how much at most."""

    cases: int
    violations: int
    worst: float


def draw(rng: np.random.Generator, count: int) -> Cases:
    """Cases of one number of pixels and one set function."""
    shape = (count, int(rng.integers(1, MOST_PIXELS + 1)))
    kinds = rng.integers(0, 6, (count, 1))
    uniform, coin = rng.random(shape), rng.random(shape) < 0.3
    grid = rng.integers(0, 5, shape) / 4
    # uniform; thin; smoothed; hard; soft beside hard; few values, for ties
    labels = (
        uniform,
        0.1 * uniform,
        0.02 + 0.9 * coin,
        1.0 * coin,
        np.where(coin, 1, uniform),
        grid,
    )
    q = np.choose(kinds, labels)

    def prediction() -> Array:
        ways = rng.integers(0, 5, (count, 1))
        near = np.clip(q + 0.1 * rng.standard_normal(shape), 0, 1)
        some = np.where(rng.random(shape) < 0.5, q, near)
        hard = 1.0 * (rng.random(shape) < 0.5)
        return np.choose(ways, (rng.random(shape), near, some, hard, rng.integers(0, 5, shape) / 4))

    # As the package counts them: in multiples of 2**-20. A half of the cases has none.
    weighted = rng.random((count, 1)) < 0.5
    weight = np.where(weighted, rng.integers(0, 2**22, shape) / 2**20, 1.0)
    alpha, beta = rng.uniform(0.2, 3), rng.uniform(1, 3)
    delta = jaccard if rng.random() < 0.7 else tversky(float(alpha), float(beta))
    return Cases(prediction(), prediction(), q, weight, delta)


def excess_of_convexity(rng: np.random.Generator, c: Cases, delta: Delta) -> Array:
    """By how much the loss between two predictions exceeds the chord."""
    t = rng.random((len(c.p), 1))
    ends = [loss(p, c.q, c.weight, delta) for p in (c.p, c.other)]
    between = loss(c.p + t * (c.other - c.p), c.q, c.weight, delta)
    return between - ((1 - t[:, 0]) * ends[0] + t[:, 0] * ends[1])


def fall_with_an_error(rng: np.random.Generator, c: Cases, delta: Delta) -> Array:
    """By how much the loss falls as some predictions move away from their labels."""
    end = 1.0 * (c.p > c.q)
    farther = c.p + rng.random(c.p.shape) * (rng.random(c.p.shape) < 0.5) * (end - c.p)
    # A pixel at its label may go either way; here it stays.
    farther = np.where(c.p == c.q, c.p, farther)
    return loss(c.p, c.q, c.weight, delta) - loss(farther, c.q, c.weight, delta)


def cost(c: Cases, members: Array, delta: Delta) -> Array:
    """Δ of sets of errors; members (cases, 2, pixels) are 1 for those below and those above."""
    below, above = np.moveaxis((c.weight[:, None] * members).sum(-1), 1, 0)
    return delta(below, above, (c.weight * c.q).sum(-1))


def marginal_costs(rng: np.random.Generator, c: Cases, delta: Delta) -> tuple[Array, Array]:
    """What a random error adds to a random set, and what it adds to a larger one."""
    shape = (len(c.p), 2, c.p.shape[1])
    large = rng.random(shape) < rng.random((len(c.p), 1, 1))
    small = large & (rng.random(shape) < 0.5)
    new = np.zeros((len(c.p), shape[1] * shape[2]), dtype=bool)
    new[np.arange(len(new)), rng.integers(0, new.shape[1], len(new))] = True
    new = new.reshape(shape)
    small, large = small & ~new, large & ~new
    gains = [cost(c, 1.0 * (s | new), delta) - cost(c, 1.0 * s, delta) for s in (small, large)]
    return gains[0], gains[1]


def excess_over_the_subgradient(c: Cases) -> Array:
    """By how much the tangent at one prediction exceeds the loss at the other."""
    here, there = (loss(p, c.q, c.weight, c.delta) for p in (c.p, c.other))
    slope = gradient(c.p, c.q, c.weight, c.delta)
    return here + (slope * (c.other - c.p)).sum(-1) - there


def lack_of_positivity(c: Cases) -> Array:
    """1 where the loss is 0 although a pixel that counts has p ≠ q, or is not 0 at p = q."""
    value = loss(c.p, c.q, c.weight, c.delta)
    apart = ((c.p != c.q) & (c.weight > 0)).any(-1)
    at_labels = loss(c.q, c.q, c.weight, c.delta)
    return 1.0 * ((apart != (value > 0)) | (at_labels != 0))


def excess_over_the_bound(c: Cases, bins: int) -> Array:
    """By how much the error of counting exceeds its bound."""
    errors, below = np.abs(c.p - c.q), is_below(c.p, c.q)
    positives = (c.weight * c.q).sum(-1)
    stands_for = centres(np, bins)[position(np, errors, bins).astype(np.int64)]
    losses = [extension(e, below, c.weight, positives, c.delta) for e in (errors, stands_for)]
    return np.abs(losses[0] - losses[1]) - error_bound(bins)


def deviation_from_hard(c: Cases) -> Array:
    """Difference of the soft loss and the one of Berman et al. on the labels rounded to 0 and 1."""
    y = c.q > 0.5
    errors = np.where(y, 1 - c.p, c.p)
    G = (c.weight * y).sum(-1)
    hard = extension(errors, y, c.weight, G, c.delta)  # Δ is capped, but nothing exceeds G
    return np.abs(loss(c.p, 1.0 * y, c.weight, c.delta) - hard)


def statements(rng: np.random.Generator, c: Cases) -> Iterator[tuple[str, Array]]:
    """Every statement, with a number for each case that must not exceed 0 but for rounding."""
    yield "convex in p", excess_of_convexity(rng, c, c.delta)
    yield "the gradient is a subgradient", excess_over_the_subgradient(c)
    yield "no smaller for a larger error", fall_with_an_error(rng, c, c.delta)
    small, large = marginal_costs(rng, c, c.delta)
    yield "the set function is monotone", -np.minimum(small, large)
    yield "the set function is submodular", large - small
    yield "0 at p = q and nowhere else", lack_of_positivity(c)
    yield "at most 1", loss(c.p, c.q, c.weight, c.delta) - 1
    for bins in (4, 64, 2048):
        yield f"the bound of counting in {bins} bins", excess_over_the_bound(c, bins)
    yield "on hard labels the loss for hard labels, to the bit", deviation_from_hard(c)


def without_the_cap(rng: np.random.Generator, c: Cases) -> Iterator[tuple[str, Array]]:
    """What is lost where the counts below the labels are not capped."""
    yield "convex in p", excess_of_convexity(rng, c, uncapped_jaccard)
    yield "no smaller for a larger error", fall_with_an_error(rng, c, uncapped_jaccard)
    small, large = marginal_costs(rng, c, uncapped_jaccard)
    yield "the set function is monotone", -np.minimum(small, large)
    yield "the set function is submodular", large - small


Statements = Callable[[np.random.Generator, Cases], Iterator[tuple[str, Array]]]


def tried(cases: int, what: Statements = statements, seed: int = 20180618) -> dict[str, Found]:
    """Violations of every statement in so many random cases."""
    rng = np.random.default_rng(seed)
    found: dict[str, Found] = {}
    for begin in range(0, cases, CHUNK):
        chunk = draw(rng, min(CHUNK, cases - begin))
        for name, excess in what(rng, chunk):
            rounding = 0.0 if "to the bit" in name else ROUNDING
            before = found.get(name, Found(0, 0, 0.0))
            found[name] = Found(
                before.cases + len(excess),
                before.violations + int((excess > rounding).sum()),
                max(before.worst, float(excess.max())),
            )
    return found
