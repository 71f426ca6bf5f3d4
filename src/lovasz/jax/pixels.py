"""What both passes compute of every pixel in plain jax.numpy: errors, and derivatives by them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lovasz.core import bins
from lovasz.core.bins import LARGEST_ERROR
from lovasz.core.contents import PROBABILITY_TOLERANCE
from lovasz.core.links import PROBABILITIES, UNBOUNDED
from lovasz.jax import floats
from lovasz.jax.precision import Array, compute_dtype
from lovasz.jax.reading import Reading


class Pixels(NamedTuple):
    """Pixels and their classes or channels, as the scores lie."""

    scores: Array  # in the compute dtype; of the softmax the probabilities
    logs: Array | None  # of the softmax their logarithms
    errors: Array
    complements: Array  # 1 less errors in [0, 1], with digits that are lost in those
    positive: Array  # bool, the pixel is of the class, or of the channel's set
    valid: Array  # bool, not ignored; broadcasts


class LogSumExp(NamedTuple):
    """In two parts: of a score that is nearly as large as it is the difference has all digits."""

    most: Array  # (N, L), the largest score
    rest: Array  # (N, L), what is to be added to it

    @staticmethod
    def of(scores: Array, axis: int) -> LogSumExp:
        """Over the classes."""
        most = scores.max(axis, keepdims=True)
        top = scores == most
        # The largest is 1; of the others no digit is lost beside it.
        others = jnp.where(top, 0.0, jnp.exp(scores - most)).sum(axis) + (top.sum(axis) - 1)
        return LogSumExp(most.squeeze(axis), jnp.log1p(others))

    def words(self) -> Array:
        """Both parts (N, L, 2), as words if they are float32.

        What they are the same implementation reads: those of the kernels hold one float64.
        """
        parts = jnp.stack((self.most, self.rest), -1)
        if parts.dtype == jnp.float32:  # of one dtype with those of the kernels
            return lax.bitcast_convert_type(parts, jnp.uint32)
        return parts

    @staticmethod
    def from_words(words: Array) -> LogSumExp:
        """What `words` made."""
        if words.dtype == jnp.uint32:
            words = lax.bitcast_convert_type(words, jnp.float32)
        return LogSumExp(words[..., 0], words[..., 1])


def no_lse(images: int, dtype: jnp.dtype) -> Array:
    """What links without a softmax have in the place of words."""
    return jnp.zeros((images, 0, 2), jnp.uint32 if dtype == jnp.float32 else dtype)


def load(scores: Array, labels: Array, lse: LogSumExp | None, r: Reading) -> Pixels:
    """Errors of every pixel, for each class or channel."""
    valid = r.by_pixel(is_valid(labels, r.ignore_index))
    positive = positives_of(labels, scores.shape[r.class_axis], r) & valid
    scores, logs = scores.astype(compute_dtype(scores)), None
    if lse is not None:
        logs = (scores - r.by_pixel(lse.most)) - r.by_pixel(lse.rest)
        scores = jnp.exp(logs)
    errors = errors_of(scores, positive, r.link)
    # The error of a score whose label is the other one.
    complements = errors if r.link in UNBOUNDED else errors_of(scores, ~positive, r.link)
    return Pixels(scores, logs, errors, complements, positive, valid)


def is_valid(labels: Array, ignore_index: int | None) -> Array:
    """Which labels are not ignored. The index is one that their dtype can hold."""
    if ignore_index is None:
        return jnp.ones(labels.shape, jnp.bool_)
    return labels != np.asarray(ignore_index, labels.dtype)


def positives_of(labels: Array, classes: int, r: Reading) -> Array:
    """Which pixels have which label, ignored or not."""
    if not r.multiclass:
        return r.by_pixel(labels == np.asarray(1, labels.dtype))
    index = r.by_class(jnp.arange(classes, dtype=jnp.int32))
    return r.by_pixel(as_index(labels)) == index


def as_index(labels: Array) -> Array:
    """Labels of a dtype that is signed; what int32 cannot hold stays beyond every class."""
    if labels.dtype in (jnp.uint32, jnp.uint64):
        labels = jnp.minimum(labels, np.asarray(2**31 - 1, labels.dtype))
    return labels if labels.dtype == jnp.int64 else labels.astype(jnp.int32)


def errors_of(scores: Array, positive: Array, link: str) -> Array:
    """Error of every score, or of every probability of the softmax."""
    margin = jnp.where(positive, -scores, scores)  # grows with the error
    if link == "sigmoid":
        return jax.nn.sigmoid(margin)
    if link == "hinge":
        return jnp.maximum(1 + margin, 0.0)
    if link == "elu":
        # Not elu + 1, which rounds errors below 1e-7 to 0.
        return jnp.where(margin > -1, 2 + margin, jnp.exp(jnp.minimum(1 + margin, 0.0)))
    # Rounding can carry a probability past 1; an error outside [0, 1] would have no bin.
    return jnp.clip(jnp.where(positive, 1 - scores, scores), 0.0, 1.0)


def bins_of(pixels: Pixels, r: Reading) -> Array:
    """Bin of each error, int32."""
    if r.link in UNBOUNDED:
        place = bins.position(floats, pixels.errors, r.bins, unbounded=True)
    else:
        place = bins.position(floats, pixels.errors, r.bins, complements=pixels.complements)
    found: Array = place.astype(jnp.int32)
    return found


def pull_back(pixels: Pixels, slopes: Array, r: Reading) -> Array:
    """Derivative by the scores from that by the errors."""
    # The error of a positive falls as its score rises.
    rising = jnp.where(pixels.positive, -slopes, slopes)
    if r.link == "softmax":
        p = pixels.scores
        # Relative to their mean, and then once more: where one p is nearly 1 the mean is nearly its
        # own, and the digits are lost in the first difference alone.
        rising = rising - r.over_classes(p, rising)
        return p * (rising - r.over_classes(p, rising))
    if r.link in PROBABILITIES:
        return rising
    margin = jnp.where(pixels.positive, -pixels.scores, pixels.scores)
    if r.link == "sigmoid":
        return rising * (jax.nn.sigmoid(margin) * jax.nn.sigmoid(-margin))
    if r.link == "hinge":
        return rising * (1 + margin > 0)
    return rising * jnp.exp(jnp.minimum(1 + margin, 0.0))


def count_invalid(
    scores: Array, labels: Array, lse: LogSumExp | None, pixels: Pixels, r: Reading
) -> Array:
    """Number of pixels per group that make the loss meaningless, (G,) int32.

    Those with an impossible label, and those with a score that is no number, or whose error is not
    below the largest that can be counted. Without softmax those of each class or channel.
    """
    index, classes = as_index(labels), scores.shape[r.class_axis] if r.multiclass else 2
    bad = r.by_pixel((index < 0) | (index >= classes))
    if lse is not None:
        bad = bad | r.by_pixel(~jnp.isfinite(lse.most))
    elif r.link in PROBABILITIES:
        low, high = -PROBABILITY_TOLERANCE, 1 + PROBABILITY_TOLERANCE
        bad = bad | ~((pixels.scores >= low) & (pixels.scores <= high))  # NaN is neither
    else:
        counted = r.link in UNBOUNDED and r.bins > 0
        bad = bad | ~(pixels.errors < (LARGEST_ERROR if counted else jnp.inf))
    return r.by_group((bad & pixels.valid).astype(jnp.int32))
