"""The window: the same losses and gradients as under PyTorch, as a value that is passed on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import lax

import lovasz
from lovasz.jax import Window, cross_entropy_lovasz_softmax, lovasz_hinge, lovasz_softmax
from tests.jax.alike import COMPILED

RNG = np.random.default_rng(20180618)
LOGITS = (RNG.normal(size=(5, 40, 3)) * 2).astype(np.float32)
LABELS = RNG.integers(0, 2, (5, 40))
LABELS[0, :7] = 2  # a class that comes once, and is forgotten

step = jax.jit(
    jax.value_and_grad(
        lambda logits, labels, window, weight=None: lovasz_softmax(
            logits, labels, window=window, pixel_weight=weight, bins=256
        ),
        has_aux=True,
    )
)


@pytest.mark.parametrize(
    ("implementation", "weighted"),
    [("compiled", False), ("compiled", True), ("plain", True)],
    indirect=["implementation"],
)
def test_losses_and_gradients_are_those_of_torch(implementation, weighted):
    window, theirs = Window.init(3, 0.6, bins=256), lovasz.Window(0.6)
    for logits, labels in zip(LOGITS, LABELS, strict=True):
        weight = np.linspace(0, 2, 40, dtype=np.float32) if weighted else None
        own = torch.tensor(logits).requires_grad_()
        value = lovasz.lovasz_softmax(
            own, torch.tensor(labels), window=theirs, bins=256,
            pixel_weight=None if weight is None else torch.tensor(weight),
        )  # fmt: skip
        value.backward()
        (found, window), gradient = step(logits, labels, window, weight)
        near = 1e-6 if implementation == "compiled" else 1e-3
        assert found == pytest.approx(value.item(), abs=near)
        np.testing.assert_allclose(gradient, own.grad, atol=near)
    counts = theirs.counts.numpy() / 2**20
    if implementation == "compiled":
        np.testing.assert_allclose(window.counts, counts, rtol=1e-6, atol=1e-5)
    assert float(window.batches) == pytest.approx(theirs.batches.item() / 2**20, rel=1e-6)


@COMPILED
def test_the_first_batch_has_its_own_loss(implementation):
    window = Window.init(3, 0.9)
    loss, later = lovasz_softmax(LOGITS[0], LABELS[0], window=window)
    assert loss == lovasz_softmax(LOGITS[0], LABELS[0])
    assert not window.counts.any()  # as it was
    assert later.counts.sum() == 40 * 3


@COMPILED
def test_a_class_is_forgotten(implementation):
    window = Window.init(3, 0.5, bins=256)
    for i in range(30):
        logits, labels = LOGITS[i % 5], LABELS[min(i, 1)]
        (loss, window), _ = step(logits, labels, window)
    assert not window.counts[2, 1].any()
    assert jnp.isfinite(loss)


@COMPILED
def test_a_batch_that_is_no_numbers_is_not_added(implementation):
    window = Window.init(3, 0.9, bins=256)
    (_, window), _ = step(LOGITS[0], LABELS[0], window)
    (loss, later), _ = step(np.full_like(LOGITS[0], np.nan), LABELS[0], window)
    assert jnp.isnan(loss)
    np.testing.assert_array_equal(later.counts, window.counts)
    assert later.batches == window.batches


@COMPILED
def test_it_is_carried_through_a_scan(implementation):
    def each(window, batch):
        loss, window = cross_entropy_lovasz_softmax(*batch, window=window)
        return window, loss

    window, losses = jax.jit(lambda w: lax.scan(each, w, (LOGITS, LABELS)))(Window.init(3, 0.9))
    other = Window.init(3, 0.9)
    for logits, labels, loss in zip(LOGITS, LABELS, losses, strict=True):
        value, other = cross_entropy_lovasz_softmax(logits, labels, window=other)
        assert value == pytest.approx(float(loss), abs=1e-6)
    np.testing.assert_array_equal(window.counts, other.counts)
    leaves, tree = jax.tree.flatten(window)
    assert [leaf.dtype for leaf in leaves] == [jnp.float32, jnp.float32]
    assert jax.tree.unflatten(tree, leaves).momentum == 0.9


@COMPILED
def test_it_is_the_same_on_all_devices(implementation):
    def each(logits, labels, window):
        return lovasz_softmax(logits, labels, window=window, axis_name="devices")

    start = Window.init(3, 0.9)
    halves = LOGITS[0].reshape(2, 20, 3), LABELS[0].reshape(2, 20)
    losses, windows = jax.vmap(each, (0, 0, None), axis_name="devices")(*halves, start)
    want, window = lovasz_softmax(LOGITS[0], LABELS[0], window=start)
    np.testing.assert_array_equal(losses, [want, want])
    np.testing.assert_array_equal(windows.counts, [window.counts, window.counts])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"window": 0.9}, r"expected window to be a lovasz.jax.Window or None, got float"),
        ({"per_image": True}, r"expected per_image=False with a window, .*, got per_image=True"),
        ({"method": "sort"}, r"expected method='histogram' with window, .* got 'sort'"),
        ({"bins": 64}, r"Window: expected 3 classes and 2048 bins, as .*, got 3 and 64"),
    ],
)
def test_what_it_cannot_be_used_with(options, sentence):
    options = {"window": Window.init(3, 0.9), **options}
    with pytest.raises((TypeError, ValueError), match=sentence):
        lovasz_softmax(LOGITS, LABELS, **options)


def test_wrong_arguments():
    for arguments, sentence in (
        ((0, 0.9), "Window: expected num_classes to be 1 or more, got 0"),
        ((2, 1.0), r"Window: expected momentum to be in \[0, 1\), got 1.0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Window.init(*arguments)


@COMPILED
def test_channels(implementation):
    window = Window.init(1, 0.9)
    loss, window = lovasz_hinge(LOGITS[..., 0], LABELS % 2, window=window)
    assert loss == lovasz_hinge(LOGITS[..., 0], LABELS % 2)
    assert window.counts.sum() == LABELS.size
