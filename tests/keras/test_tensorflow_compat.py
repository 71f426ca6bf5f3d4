"""The paper's file for TensorFlow under its own names."""

import inspect
import itertools

import numpy as np
import pytest
import tensorflow as tf
import torch

from lovasz import error_bound
from lovasz.compat import lovasz_losses as for_torch
from lovasz.compat import lovasz_losses_tf as L
from tests import oracle

IGNORE = 255
SIGNATURES = {
    "lovasz_grad": "gt_sorted",
    "lovasz_hinge": "logits, labels, per_image=True, ignore=None",
    "lovasz_hinge_flat": "logits, labels",
    "flatten_binary_scores": "scores, labels, ignore=None",
    "lovasz_softmax": ("probas, labels, classes='all', per_image=False, ignore=None, order='BHWC'"),
    "lovasz_softmax_flat": "probas, labels, classes='all'",
    "flatten_probas": "probas, labels, ignore=None, order='BHWC'",
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (2, 5, 6))
    labels[rng.random(labels.shape) < 0.2] = IGNORE
    return rng.normal(size=(2, 5, 6, 4)) * 2, labels


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_those_of_the_file(name):
    parameters = inspect.signature(getattr(L, name)).parameters.values()
    assert name in L.__all__
    positional = [p.replace(annotation=p.empty) for p in parameters if p.kind != p.KEYWORD_ONLY]
    assert ", ".join(str(p).replace(" = ", "=") for p in positional) == SIGNATURES[name]


def test_slopes_are_those_of_the_definition():
    """Of all sequences of up to six pixels."""
    for size in range(7):
        for bits in itertools.product((0.0, 1.0), repeat=size):
            got = L.lovasz_grad(tf.constant(bits, tf.float64, (size,))).numpy()
            errors = list(range(size, 0, -1))
            want = oracle.slopes(errors, [bit > 0 for bit in bits], oracle.jaccard)
            np.testing.assert_allclose(got, want, atol=1e-14)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("classes", ["all", "present", [1, 2]])
def test_softmax(data, classes, per_image):
    logits, labels = data
    p = tf.nn.softmax(logits)
    got = L.lovasz_softmax(p, labels, classes, per_image, IGNORE, method="sort")
    target = torch.tensor(labels)
    want = for_torch.lovasz_softmax(
        torch.tensor(p.numpy()).movedim(-1, 1), target, classes, per_image, IGNORE, method="sort"
    )
    assert float(got) == pytest.approx(want.item(), abs=1e-12)
    counted = L.lovasz_softmax(p, labels, classes, per_image, IGNORE)
    assert float(counted) == pytest.approx(want.item(), abs=error_bound(2048))
    other = tf.transpose(p, (0, 3, 1, 2))
    moved = L.lovasz_softmax(other, labels, classes, per_image, IGNORE, "BCHW", method="sort")
    assert float(moved) == pytest.approx(want.item(), abs=1e-12)


@pytest.mark.parametrize("order", ["BHWC", "BCHW"])
def test_flattened_probabilities(data, order):
    logits, labels = data
    p = tf.nn.softmax(logits)
    given = p if order == "BHWC" else tf.transpose(p, (0, 3, 1, 2))
    flat = L.flatten_probas(given, labels, IGNORE, order)
    assert flat[0].shape == (np.sum(labels != IGNORE), 4)
    loss = L.lovasz_softmax_flat(*flat, method="sort")
    want = L.lovasz_softmax(p, labels, ignore=IGNORE, method="sort")
    assert float(loss) == pytest.approx(float(want), abs=1e-12)
    assert [len(x) for x in L.flatten_probas(given, labels, order=order)] == [60, 60]


@pytest.mark.parametrize("per_image", [False, True])
def test_hinge(data, per_image):
    logits, labels = data
    scores, labels = logits[..., 0], np.where(labels == IGNORE, IGNORE, labels % 2)
    got = L.lovasz_hinge(scores, labels, per_image, IGNORE)
    given = torch.tensor(scores), torch.tensor(labels)
    want = for_torch.lovasz_hinge(*given, per_image, IGNORE).item()
    assert float(got) == pytest.approx(want, abs=1e-12)
    if not per_image:
        flat = L.flatten_binary_scores(scores, labels, IGNORE)
        assert float(L.lovasz_hinge_flat(*flat)) == pytest.approx(want, abs=1e-12)


def test_another_order_is_told():
    with pytest.raises(ValueError, match=r'expected order to be "BHWC" or "BCHW", got .CBHW.$'):
        L.lovasz_softmax(tf.zeros((1, 2, 2, 2)), tf.zeros((1, 2, 2)), order="CBHW")
