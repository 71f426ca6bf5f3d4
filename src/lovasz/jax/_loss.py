"""The algorithm of every loss: check, prepare, histogram, pool, extend, connect, reduce."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lovasz.core.links import MULTILABEL
from lovasz.core.options import Options, is_number
from lovasz.core.set_functions import as_tversky
from lovasz.jax import operators
from lovasz.jax.contents import raise_for_contents
from lovasz.jax.counting import Extended
from lovasz.jax.inputs import Inputs, check_set_function, prepare
from lovasz.jax.precision import SCALE, Array, compute_dtype, int64_of, to_words, wide
from lovasz.jax.reading import Reading
from lovasz.jax.window import Window, add

#: What a loss returns: of a window it was given, that with the batch too.
Loss: TypeAlias = Array | tuple[Array, Window]


class Places(NamedTuple):
    """What JAX says otherwise than PyTorch: where classes, pixels that count and devices are."""

    axis: int | None
    where: Any = None
    axis_name: Hashable | None = None


class _Terms(NamedTuple):
    """Losses of the classes, connected to the scores, and what is reduced with them."""

    losses: Array  # (G, C)
    active: Array  # (G, C) bool, classes that count
    invalid: Array  # (G,)
    cross_entropy: Array | None  # ()


def loss(
    name: str,
    link: str,
    scores: Any,
    labels: Any,
    o: Options,
    places: Places,
    scores_name: str = "logits",
) -> Loss:
    """A Lovász loss, with a cross-entropy added where that is asked for.

    Args:
        name: of the public function, for sentences about wrong arguments.
        link: how scores become errors, see ``core.links``.
        scores: as the user gave them.
        labels: likewise.
        o: options.
        places: what there is beside them.
        scores_name: what the public function calls the scores.
    """
    _check(name, link, o, places)
    inputs = prepare(
        name, scores_name, link, scores, labels, axis=places.axis, where=places.where,
        pixel_weight=o.pixel_weight, ignore_index=o.ignore_index, per_image=o.per_image,
    )  # fmt: skip
    classes, dtype = inputs.scores.shape[inputs.class_axis], compute_dtype(inputs.scores)
    weight = _class_weight(name, o.names.weight, o.weight, classes, dtype)
    own_weight, smoothing = None, 0.0
    if o.cross_entropy is not None:
        argument = "pos_weight" if link in MULTILABEL else "weight"
        own_weight = _class_weight(name, argument, o.cross_entropy.weight, classes, dtype)
        smoothing = float(o.cross_entropy.smoothing)
    counted = o.window is not None or not (is_number(o.lovasz_factor) and o.lovasz_factor == 0)
    reading = Reading(
        link, inputs.class_axis, inputs.ignore_index, o.per_image, o.bins if counted else 0,
        o.cross_entropy is not None, smoothing,
    )  # fmt: skip
    mask = _class_mask(name, o.classes, classes)
    if o.method == "sort":
        terms, window = _sorted(inputs, reading, mask, o), None
    else:
        terms, window = _counted(inputs, reading, mask, own_weight, o, places.axis_name)
    value = _reduce(terms, weight, o, places.axis_name)
    if o.cross_entropy is not None:
        assert terms.cross_entropy is not None  # asked for above
        assert o.lovasz_factor is not None  # there is always a Lovász loss
        value = o.cross_entropy.factor * terms.cross_entropy + o.lovasz_factor * value
    value = value.astype(dtype)
    return value if window is None else (value, window)


def _check(name: str, link: str, o: Options, places: Places) -> None:
    """Everything that does not depend on the arrays; factors may be arrays, of a schedule."""
    numbers = o
    if o.cross_entropy is not None:
        factor = 1.0 if isinstance(o.cross_entropy.factor, jax.Array) else o.cross_entropy.factor
        numbers = o._replace(cross_entropy=o.cross_entropy._replace(factor=factor))
        if isinstance(o.lovasz_factor, jax.Array):
            numbers = numbers._replace(lovasz_factor=1.0)
    numbers.check(name, multilabel=link in MULTILABEL)
    if as_tversky(o.set_function) is None:
        check_set_function(name, o.set_function)
    shared = {"window": o.window}
    if not o.per_image:  # losses of images are each device's own
        shared["axis_name"] = places.axis_name
    if o.window is not None:
        if not isinstance(o.window, Window):
            raise TypeError(
                f"{name}: expected window to be a lovasz.jax.Window or None, got"
                f" {type(o.window).__name__}"
            )
        if o.per_image:
            raise ValueError(
                f"{name}: expected per_image=False with a window, because counts of images are not"
                f" remembered apart, got per_image={o.per_image!r}"
            )
    for argument, value in shared.items():
        if value is not None and o.method != "histogram":
            raise ValueError(
                f"{name}: expected method='histogram' with {argument}, because errors that are"
                f" sorted cannot be added up, got {o.method!r}"
            )


def _counted(
    inputs: Inputs,
    r: Reading,
    mask: Array | None,
    class_weight: Array | None,
    o: Options,
    axis_name: Hashable | None,
) -> tuple[_Terms, Window | None]:
    """Losses of the classes by counting: of the batch, of all devices', or of a window."""
    scores, weight = inputs.scores, inputs.pixel_weight
    read = lax.stop_gradient(scores)
    counts, lse, invalid, sums = operators.histogram(read, inputs.labels, weight, class_weight, r)
    raise_for_contents(read, inputs.labels, invalid, r, o)
    unit = 1 if weight is None else SCALE
    pooled = axis_name is not None and not r.per_image
    if pooled:
        invalid = lax.psum(invalid, axis_name)
        with wide():
            counts = to_words(lax.psum(int64_of(counts), axis_name))
    absent, active, window = o.classes != "present", None, None
    if o.window is not None:
        _check_window(o.window, counts)
        window, counts, active = add(o.window, counts, unit, (invalid == 0).all(), absent)
        unit = SCALE
    dtype = compute_dtype(scores)
    extended = operators.extend(counts, o.set_function, o.symmetric, unit, r.link, dtype)
    active = extended.present[0 if absent else 1] if active is None else active
    active = active if mask is None else active & mask
    extended = _of_active(extended, active, o)
    losses = extended.losses
    if pooled:  # what all devices have in common is the first one's, so that their sum is it too
        losses = jnp.where(lax.axis_index(axis_name) == 0, losses, 0.0)
    connected: tuple[Array, Array] = operators.connect(
        r, scores, losses, sums[0], extended.slopes, lse, inputs.labels, weight, class_weight
    )
    losses, summed = connected
    total = sums[1]
    if axis_name is not None:
        summed, total = lax.psum((summed, total), axis_name)
    if pooled:
        losses = lax.psum(losses, axis_name)
    mean = summed / jnp.where(total > 0, total, jnp.inf)  # that of nothing is 0
    return _Terms(losses, active, invalid, mean), window


def _sorted(inputs: Inputs, r: Reading, mask: Array | None, o: Options) -> _Terms:
    """Losses of the classes from sorted errors."""
    scores, weight = inputs.scores, inputs.pixel_weight
    read = lax.stop_gradient(scores)
    r = r._replace(plain=not operators.can_sort(read, o.set_function))
    extended, lse, invalid = operators.sort_and_extend(
        read, inputs.labels, weight, o.set_function, o.symmetric, r
    )
    raise_for_contents(read, inputs.labels, invalid, r, o)
    active = extended.present[1 if o.classes == "present" else 0]
    active = active if mask is None else active & mask
    losses, slopes, _ = _of_active(extended, active, o)
    nothing = jnp.zeros((), losses.dtype)
    connected: tuple[Array, Array] = operators.connect(
        r, scores, losses, nothing, slopes, lse, inputs.labels, weight, None
    )
    return _Terms(connected[0], active, invalid, None)


def _of_active(extended: Extended, active: Array, o: Options) -> Extended:
    """Zero for inactive classes, where a set function of the caller's may divide by 0."""
    if as_tversky(o.set_function) is not None:
        return extended
    losses, slopes, present = extended
    where = active[..., None, None] if slopes.ndim == 4 else active[..., None]
    return Extended(jnp.where(active, losses, 0.0), jnp.where(where, slopes, 0.0), present)


def _reduce(terms: _Terms, weight: Array | None, o: Options, axis_name: Hashable | None) -> Array:
    """Weighted sum or mean over classes, images and devices; with "none" the weighted losses."""
    losses, active = terms.losses, terms.active
    bad = (terms.invalid > 0)[:, None]
    ones = active.astype(losses.dtype)
    factors = ones if weight is None else ones * weight
    own = axis_name if o.per_image else None  # whose images there are beside those of this device
    if o.reduction == "mean":
        share = (factors if o.normalize_weight else ones).sum(1, keepdims=True)
        factors = factors / jnp.where(share > 0, share, 1.0)
        if o.per_image:
            images = (active.any(1, keepdims=True) | bad).sum()
            images = images if own is None else lax.psum(images, own)
            factors = factors / jnp.maximum(images, 1)
    # So that value and gradient tell the same.
    weighted = losses * jnp.where(bad, jnp.nan, factors)
    if o.reduction == "none":
        return weighted if o.per_image else weighted[0]
    total = weighted.sum()
    return total if own is None else lax.psum(total, own)


def _check_window(window: Window, counts: Array) -> None:
    """As many classes and bins."""
    classes, bins = counts.shape[1], counts.shape[3]
    if window.counts.shape != (classes, 2, bins):
        raise ValueError(
            f"Window: expected {window.counts.shape[0]} classes and {window.counts.shape[2]} bins,"
            f" as it was made for (make another window for others), got {classes} and {bins}"
        )


def _class_weight(
    name: str, argument: str, weight: Any, classes: int, dtype: jnp.dtype
) -> Array | None:
    """Class weights as an array (C,); those that are no array of JAX can be looked at."""
    if weight is None:
        return None
    if not isinstance(weight, jax.Array):
        try:
            weight = np.asarray(weight, np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{name}: expected {argument} to be an array or a sequence of numbers, got"
                f" {weight!r}"
            ) from error
        if not (np.isfinite(weight) & (weight >= 0)).all():
            raise ValueError(
                f"{name}: expected {argument} to be finite and not negative, got {weight.tolist()}"
            )
    if weight.shape != (classes,):
        raise ValueError(
            f"{name}: expected {argument} of shape ({classes},), one number for each class, got"
            f" {weight.shape}"
        )
    return jnp.asarray(weight, dtype)


def _class_mask(name: str, classes: Any, count: int) -> Array | None:
    """Listed classes as a mask (C,), which count without a pixel too; None for words."""
    if classes in ("present", "all"):
        return None
    chosen = list(range(1, count)) if classes == "foreground" else list(classes)
    if not all(index < count for index in chosen):
        raise ValueError(
            f"{name}: expected classes to hold indices from 0 to {count - 1}, got {chosen}"
        )
    return jnp.isin(jnp.arange(count), np.array(chosen, np.int32))
