"""The same losses and gradients as under PyTorch, to 1e-6."""

import inspect

import pytest
import torch

import lovasz
import lovasz.jax
from tests.jax.alike import BINARY, CHANNELS, COMPILED, IMAGES, SOFTMAX, compare, named


@pytest.mark.parametrize(("name", "options"), SOFTMAX, ids=named)
def test_classes(implementation, name, options):
    compare(implementation, name, IMAGES, options, axis=-1)


@COMPILED
@pytest.mark.parametrize(
    ("axis", "per_image"), [(0, False), (1, False), (1, True), (2, False), (2, True)]
)
def test_classes_on_any_axis(implementation, axis, per_image):
    compare(implementation, "lovasz_softmax", IMAGES, {"per_image": per_image}, axis=axis)


@pytest.mark.parametrize(("name", "options"), BINARY, ids=named)
def test_binary(implementation, name, options):
    compare(implementation, name, CHANNELS, options, axis=None)


@COMPILED
@pytest.mark.parametrize(("name", "options"), BINARY, ids=named)
@pytest.mark.parametrize("axis", [-1, 1])
def test_channels(implementation, name, options, axis):
    compare(implementation, name, CHANNELS, options, axis=axis)


def test_probabilities(implementation):
    logits, labels, _ = IMAGES
    probabilities = torch.tensor(logits).softmax(-1).numpy()
    for name, images in (
        ("lovasz_softmax_from_probabilities", (probabilities, labels, IMAGES[2])),
        ("lovasz_sigmoid_from_probabilities", (probabilities, CHANNELS[1], CHANNELS[2])),
    ):
        compare(implementation, name, images, {}, axis=-1)


@pytest.mark.parametrize("name", sorted(set(lovasz.jax.__all__) & set(lovasz.__all__)))
def test_names_are_those_of_torch(name):
    """The same objects, or functions with the same options."""
    ours, theirs = getattr(lovasz.jax, name), getattr(lovasz, name)
    if ours is theirs or isinstance(ours, type):
        return
    parameters, others = (inspect.signature(f).parameters for f in (ours, theirs))
    new = {"labels", "axis", "where", "axis_name"}
    assert parameters.keys() - others.keys() <= new
    for option in parameters.keys() & others.keys():
        assert parameters[option].default == others[option].default, option
