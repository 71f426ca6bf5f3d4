"""Labels and probabilities that no loss can be computed from: told where they can be looked at.

That is outside of compiled and mapped functions, on the CPU. Elsewhere they make the loss NaN.
"""

from __future__ import annotations

import numpy as np
from jax.core import Tracer

from lovasz.core.contents import PROBABILITY_TOLERANCE, no_probability, wrong_labels
from lovasz.core.links import PROBABILITIES
from lovasz.core.options import Options
from lovasz.jax.precision import Array
from lovasz.jax.reading import Reading


def raise_for_contents(
    scores: Array, labels: Array, invalid: Array, r: Reading, o: Options
) -> None:
    """Say which label is neither a class nor ignored, or which score is no probability.

    A NaN is not raised for: it makes the loss NaN, as it does for logits.
    """
    if any(isinstance(array, Tracer) for array in (scores, labels, invalid)):
        return
    if any(device.platform != "cpu" for device in invalid.devices()) or not np.any(invalid):
        return
    classes = scores.shape[r.class_axis] if r.multiclass else 2
    numbers = np.asarray(labels)
    valid = np.ones(numbers.shape, bool) if r.ignore_index is None else numbers != r.ignore_index
    bad = numbers[valid & ((numbers < 0) | (numbers >= classes))]
    if len(bad):
        entropy = o.cross_entropy is not None
        options = (entropy, classes, o.ignore_index)
        raise ValueError(wrong_labels(r.link, *options, int(bad[0]), len(bad) - 1))
    if r.link in PROBABILITIES:
        values = np.asarray(scores).astype(np.float64)
        if r.class_axis == 2:
            values = values.swapaxes(1, 2)
        valid = valid[:, None] if r.multiclass else valid
        low, high = -PROBABILITY_TOLERANCE, 1 + PROBABILITY_TOLERANCE
        beyond = values[valid & ((values < low) | (values > high))]
        if len(beyond):
            raise ValueError(no_probability(r.link, float(beyond[0])))
