"""The loss for a Keras model on torch: value, ignored labels, bfloat16."""

import numpy
import pytest
import torch

from tests.stacks.examples import load, of_labelled, require

require("keras")


@pytest.fixture(scope="module")
def example():
    return load("keras_model")


def first_loss(example, images, target):
    """The loss of one step by ``fit``, that of the pixels of the network before it, and after."""
    model = example.network()
    with torch.no_grad():
        logits = model(images)
    model.compile(optimizer="sgd", loss=example.loss)
    before = [weight.copy() for weight in model.get_weights()]
    history = model.fit(images, target, batch_size=len(images), verbose=0)
    want = of_labelled(logits.float().movedim(-1, 1), torch.as_tensor(target))
    return history.history["loss"][0], want.item(), before, model.get_weights()


def test_backend(example):
    assert example.keras.backend.backend() == "torch"


def test_value_is_that_of_the_labelled_pixels(example):
    images, target = example.data()
    assert (target == 255).any()
    got, want, before, after = first_loss(example, images, target)
    assert got == pytest.approx(want, rel=1e-5)
    assert any((a != b).any() for a, b in zip(after, before, strict=True))


def test_a_batch_without_labels_changes_nothing(example):
    images, target = example.data()
    got, _, before, after = first_loss(example, images, numpy.full_like(target, 255))
    assert got == 0
    assert all((a == b).all() for a, b in zip(after, before, strict=True))


def test_bfloat16(example):
    images, target = example.data()
    full = first_loss(example, images, target)[0]
    example.keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        got, want, _, _ = first_loss(example, images, target)
    finally:
        example.keras.config.set_dtype_policy("float32")
    assert got != full
    assert got == pytest.approx(full, rel=1e-2)
    assert got == pytest.approx(want, rel=1e-5)


def test_a_training_step_of_your_own(example):
    """For what ``compile(loss=…)`` cannot express."""
    keras = example.keras

    class Network(keras.Model):
        def train_step(self, data):
            images, target = data
            self.zero_grad()
            loss = example.loss(target, self(images, training=True))
            loss.backward()
            weights = list(self.trainable_weights)
            with torch.no_grad():
                self.optimizer.apply([weight.value.grad for weight in weights], weights)
            for metric in self.metrics:  # or Keras reports 0
                metric.update_state(loss)
            return {metric.name: metric.result() for metric in self.metrics}

    images, target = example.data()
    inner = example.network()
    model = Network(inner.inputs[0], inner.outputs[0])
    with torch.no_grad():
        want = example.loss(torch.as_tensor(target), model(images)).item()
    model.compile(optimizer=keras.optimizers.SGD(0.5))
    history = model.fit(images, target, batch_size=len(images), epochs=3, verbose=0).history
    assert history["loss"][0] == pytest.approx(want, rel=1e-5)
    assert history["loss"][2] < history["loss"][0]


def test_a_model_that_computes_its_loss(example):
    """``compute_loss`` gets the labels as they are, not as floating numbers."""
    keras, dtypes = example.keras, []

    class Network(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            dtypes.append(y.dtype)
            return example.loss(y, y_pred)

    images, target = example.data()
    inner = example.network()
    model = Network(inner.inputs[0], inner.outputs[0])
    with torch.no_grad():
        want = example.loss(torch.as_tensor(target), model(images)).item()
    model.compile(optimizer="sgd")
    history = model.fit(images, target, batch_size=len(images), verbose=0).history
    assert history["loss"] == [pytest.approx(want, rel=1e-5)]
    assert dtypes == [torch.int64]


def test_the_example_trains(example):
    _, history = example.train(epochs=3)
    assert history.history["loss"][-1] < history.history["loss"][0]
