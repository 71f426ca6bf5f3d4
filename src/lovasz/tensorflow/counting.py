"""Losses of the classes by counting, with the gradient by the scores.

Pixels lie in rows of groups: G groups, L pixels, C classes or channels, B bins. The Lovász
extension is that of ``core.extension``; here its errors are counted, and its slopes are brought
back to the pixels. The exact method does the same with the distinct errors in the place of bins.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy
import tensorflow as tf

from lovasz.core import bins
from lovasz.core.extension import extend_histogram
from lovasz.core.links import MULTICLASS, PROBABILITIES, UNBOUNDED
from lovasz.core.options import Options
from lovasz.tensorflow import arrays
from lovasz.tensorflow.inputs import SCALE, Pixels, beyond


class Errors(NamedTuple):
    """Errors of all pixels and classes, (G, L, C)."""

    scores: tf.Tensor  # of the softmax the probabilities
    errors: tf.Tensor
    complements: tf.Tensor  # 1 less errors in [0, 1], with digits that are lost in those


class Places(NamedTuple):
    """Where errors are counted."""

    place: tf.Tensor  # (G, L, C) int32
    number: Any  # of bins B, an int or a scalar
    centres: tf.Tensor  # (B,) or (G, C, B) float64, the error that each bin stands for


class Losses(NamedTuple):
    """Losses of the classes of each group, connected to the scores."""

    losses: tf.Tensor  # (G, C) float64
    bad: tf.Tensor  # (G, 1) bool, there is something that no loss can be computed from


def losses_of_classes(pixels: Pixels, o: Options) -> Losses:
    """The Lovász extension for every class of every group."""

    @tf.custom_gradient
    def extended(scores: tf.Tensor) -> Any:
        errors = errors_of(pixels._replace(scores=scores))
        places = ranks_of(errors) if o.method == "sort" else bins_of(errors, pixels.link, o.bins)
        losses, slopes = extend(histogram(places, pixels), places.centres, pixels, o)

        def backward(upstream: tf.Tensor, _: Any) -> tf.Tensor:
            # A class that does not count may have slopes that are no numbers.
            table = tf.math.multiply_no_nan(slopes, upstream[..., None, None])
            table = tf.reshape(tf.cast(table, scores.dtype), [-1])
            slope = tf.gather(table, _cells(places, pixels))
            if pixels.weight is not None:
                slope = slope * tf.cast(pixels.weight, slope.dtype)
            return _pull_back(errors, pixels, tf.where(pixels.positive, -slope, slope))

        return (losses, pixels.bad | _are_bad(errors, pixels, o)), backward

    return Losses(*extended(pixels.scores))


def errors_of(pixels: Pixels) -> Errors:
    """Errors of all scores, by the link."""
    scores, positive, link = pixels.scores, pixels.positive, pixels.link
    if link in MULTICLASS or link in PROBABILITIES:
        p = tf.nn.softmax(scores) if link == "softmax" else scores
        error, other = tf.where(positive, 1 - p, p), tf.where(positive, p, 1 - p)
        # Rounding can carry a probability past 1; an error outside [0, 1] would have no bin.
        return Errors(p, tf.clip_by_value(error, 0, 1), tf.clip_by_value(other, 0, 1))
    margin = tf.where(positive, -scores, scores)  # grows with the error
    if link == "sigmoid":
        return Errors(scores, tf.sigmoid(margin), tf.sigmoid(-margin))
    error = tf.nn.relu(1 + margin)
    return Errors(scores, error, error)


def _pull_back(errors: Errors, pixels: Pixels, rising: tf.Tensor) -> tf.Tensor:
    """Derivative by the scores from that by probabilities or margins, (G, L, C)."""
    x = errors.scores
    if pixels.link == "softmax":
        # Relative to the most probable class, so that no digits are lost where its p is nearly 1.
        most = tf.argmax(x, -1, tf.int32)[..., None]
        rising = rising - tf.gather(rising, most, batch_dims=2)
        return x * (rising - tf.reduce_sum(x * rising, -1, keepdims=True))
    if pixels.link in PROBABILITIES:
        return rising
    if pixels.link == "sigmoid":
        return rising * errors.errors * errors.complements
    return tf.where(errors.errors > 0, rising, tf.zeros_like(rising))


def bins_of(errors: Errors, link: str, number: int) -> Places:
    """The bin of each error."""
    if link in UNBOUNDED:
        place = bins.position(arrays, errors.errors, number, unbounded=True)
    else:
        place = bins.position(arrays, errors.errors, number, complements=errors.complements)
    return Places(tf.cast(place, tf.int32), number, tf.constant(_centres(number, link)))


@cache
def _centres(number: int, link: str) -> Any:
    return bins.centres(numpy, number, unbounded=link in UNBOUNDED)


def ranks_of(errors: Errors) -> Places:
    """The place of each error among the distinct errors of its group and class, from the least."""
    rows = tf.transpose(errors.errors, (0, 2, 1))  # (G, C, L)
    order = tf.argsort(rows)
    rising = tf.gather(rows, order, batch_dims=2)
    rank = tf.cumsum(tf.cast(rising[..., 1:] != rising[..., :-1], tf.int32), -1)
    rank = tf.concat((tf.zeros_like(order[..., :1]), rank), -1)
    shape = tf.shape(rows)
    first = tf.reshape(tf.range(shape[0] * shape[1]) * shape[2], (shape[0], shape[1], 1))
    # Equal errors have one rank: whichever of them is the last to be written writes the same.
    centres = tf.math.unsorted_segment_max(
        tf.cast(rising, tf.float64), first + rank, shape[0] * shape[1] * shape[2]
    )
    centres = tf.reshape(tf.maximum(centres, 0), shape)
    place = tf.gather(rank, tf.argsort(order), batch_dims=2)
    return Places(tf.transpose(place, (0, 2, 1)), shape[2], centres)


def histogram(places: Places, pixels: Pixels) -> tf.Tensor:
    """Counts (G, C, 2, B) of negatives and positives, in pixels or with weights in fixed point."""
    if pixels.weight is None:
        summand = tf.cast(pixels.valid, tf.int32)
    else:
        weight = tf.where(pixels.valid, pixels.weight, tf.zeros_like(pixels.weight))
        summand = tf.cast(tf.round(weight * SCALE), tf.int64)
    shape = tf.shape(pixels.positive)
    table = (shape[0], shape[2], 2, places.number)
    # `tf.math.bincount` computes its size in a way that XLA cannot follow.
    counts = tf.raw_ops.DenseBincount(
        input=tf.reshape(_cells(places, pixels), [-1]),
        size=tf.reduce_prod(table),
        weights=tf.reshape(tf.broadcast_to(summand, shape), [-1]),
        binary_output=False,
    )
    return tf.reshape(counts, table)


def _cells(places: Places, pixels: Pixels) -> tf.Tensor:
    """Where in a flat table (G, C, 2, B) each pixel is counted for each class, (G, L, C) int32."""
    shape = tf.shape(pixels.positive)
    row = tf.reshape(tf.range(shape[0] * shape[2]), (shape[0], 1, shape[2]))
    row = 2 * row + tf.cast(pixels.positive, tf.int32)
    return row * places.number + places.place


def extend(
    counts: tf.Tensor, centres: tf.Tensor, pixels: Pixels, o: Options
) -> tuple[tf.Tensor, tf.Tensor]:
    """Losses (G, C) and slopes (G, C, 2, B), both float64, of counts (G, C, 2, B)."""
    counts = tf.cast(counts, tf.float64) / (1 if pixels.weight is None else SCALE)
    losses, slopes = extend_histogram(arrays, counts, centres, o.set_function)
    if o.symmetric:  # the complement has the same errors: its positives are the negatives
        swapped = tf.reverse(counts, [2])
        others = extend_histogram(arrays, swapped, centres, o.set_function)
        losses = (losses + others.losses) / 2
        slopes = (slopes + tf.reverse(others.slopes, [2])) / 2
    return losses, slopes


def _are_bad(errors: Errors, pixels: Pixels, o: Options) -> tf.Tensor:
    """Groups with a score that is no number, or whose error cannot be counted, (G, 1) bool."""
    found = errors.errors
    bad = found != found  # noqa: PLR0124 (what is no number)
    if pixels.link in PROBABILITIES:
        bad = bad | beyond(errors.scores)
    elif pixels.link in UNBOUNDED and o.method == "histogram":
        bad = bad | (found >= bins.LARGEST_ERROR)
    return tf.reduce_any(bad & pixels.valid, (1, 2))[:, None]
