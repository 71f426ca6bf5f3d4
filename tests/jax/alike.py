"""Calls of both libraries with the same images, and what of their options is to be tried."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import lovasz
import lovasz.jax

# For what is slow to compile in plain jax.numpy, and the same there in all that matters.
COMPILED = pytest.mark.parametrize("implementation", ["compiled"], indirect=True)

RNG = np.random.default_rng(20180618)
IGNORED = 255
# Logits, labels and weights of pixels, classes or channels last.
_LOGITS = (RNG.normal(size=(2, 6, 5, 4)) * 3).astype(np.float32)
_LABELS = RNG.integers(0, 4, (2, 6, 5)).astype(np.uint8)
_LABELS[0, :2] = IGNORED
IMAGES = (_LOGITS, _LABELS, RNG.random((2, 6, 5)).astype(np.float32))
_ZEROS_AND_ONES = RNG.integers(0, 2, _LOGITS.shape).astype(np.uint8)
_ZEROS_AND_ONES[0, :2, 0] = IGNORED
CHANNELS = (_LOGITS, _ZEROS_AND_ONES, RNG.random(_LOGITS.shape).astype(np.float32))

WEIGHT = [0.5, 2.0, 1.0, 3.0]


def named(value):
    """The name of a test: the same in every process."""
    return re.sub(r" at 0x\w+", "", str(value))


def relative(fn, fp, positives):
    """A set function that is not Tversky's, and divides by what may be 0."""
    return (fn + fp) / positives


SOFTMAX = [
    ("lovasz_softmax", options)
    for options in (
        {},
        {"classes": "all", "reduction": "none"},
        {"classes": [3, 1], "reduction": "sum"},
        {"per_image": True, "reduction": "none"},
        {"per_image": True, "classes": "foreground", "weight": WEIGHT},
        {"weight": WEIGHT, "normalize_weight": False},
        {"set_function": lovasz.dice(accept_nonconvex=True), "bins": 64},
        {"set_function": relative},
        {"pixel_weight": True},
        {"method": "sort"},
        {"method": "sort", "pixel_weight": True, "per_image": True},
        {"method": "sort", "set_function": relative},
    )
] + [
    ("cross_entropy_lovasz_softmax", options)
    for options in (
        {},
        {"weight": WEIGHT, "label_smoothing": 0.1, "cross_entropy_weight": 0.5},
        {"lovasz_class_weight": WEIGHT, "lovasz_weight": 2.0, "per_image": True},
        {"pixel_weight": True},
        {"lovasz_weight": 0.0},
    )
]
BINARY = [
    ("lovasz_sigmoid", {}),
    ("lovasz_sigmoid", {"symmetric": True, "per_image": True}),
    ("lovasz_sigmoid", {"method": "sort", "symmetric": True}),
    ("lovasz_sigmoid", {"classes": "present", "pixel_weight": True}),
    ("lovasz_hinge", {}),
    ("lovasz_hinge", {"activation": "elu"}),
    ("lovasz_hinge", {"method": "sort"}),
    ("binary_cross_entropy_lovasz_sigmoid", {"pixel_weight": True}),
    ("binary_cross_entropy_lovasz_sigmoid", {"pos_weight": [2.0, 0.5, 1.0, 3.0]}),
]


def compare(implementation, name, images, options, axis):
    """Loss and gradient of a function of both libraries."""
    scores, labels, weight = images
    options = dict(options)
    if axis is None:  # the images of one channel
        scores, labels, weight = scores[..., 0], labels[..., 0], weight[..., 0]
        if "pos_weight" in options:
            options["pos_weight"] = options["pos_weight"][:1]
    softmax = "softmax" in name
    if options.pop("pixel_weight", False):
        options["pixel_weight"] = weight
    options["ignore_index"] = IGNORED
    want, want_gradient = _torch(name, scores, labels, options, axis is not None, softmax)

    def moved(array):  # an axis that the labels have too
        return array if axis is None or axis == -1 else np.moveaxis(array, -1, axis)

    if not softmax:
        labels = moved(labels)
        if "pixel_weight" in options:
            options["pixel_weight"] = moved(options["pixel_weight"])
    function = functools.partial(getattr(lovasz.jax, name), axis=axis, **options)

    @functools.partial(jax.value_and_grad, has_aux=True)
    def both(scores):
        values = function(scores, labels)
        return (values * jnp.arange(1, values.size + 1).reshape(values.shape)).sum(), values

    (_, values), gradient = both(jnp.asarray(moved(scores)))
    if axis not in (None, -1):
        gradient = np.moveaxis(gradient, axis, -1)
    scale = abs(want_gradient).max()
    # An error at the edge of two bins may fall in either, by the last digit of an exponential.
    near = 1e-6 if implementation == "compiled" or options.get("method") == "sort" else 1e-4
    np.testing.assert_allclose(values, want, rtol=near, atol=near)
    np.testing.assert_allclose(gradient, want_gradient, atol=1e-6 * max(1, scale))


def _torch(name, scores, labels, options, channels, softmax):
    scores = torch.tensor(scores).requires_grad_()
    logits, target = scores.movedim(-1, 1) if channels else scores, torch.tensor(labels)
    options = dict(options)
    if "pixel_weight" in options:
        options["pixel_weight"] = torch.tensor(options["pixel_weight"])
    if not softmax:
        options["multilabel"] = channels
        if channels:
            target = target.movedim(-1, 1)
            if "pixel_weight" in options:
                options["pixel_weight"] = options["pixel_weight"].movedim(-1, 1)
    values = getattr(lovasz, name)(logits, target, **options)
    (values * torch.arange(1, values.numel() + 1).view(values.shape)).sum().backward()
    return values.detach().numpy(), scores.grad.numpy()
