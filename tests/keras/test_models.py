"""Models of Keras that train by these losses: the same on every backend, compiled, saved."""

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch.nn import functional as F

import lovasz
from lovasz.keras import CrossEntropyLovaszSoftmax, DatasetIoU, LovaszSigmoid, LovaszSoftmax
from tests.keras.backends import BACKEND

RATE, EPOCHS = 0.5, 3
# What torch compiles takes a C++ compiler half a minute.
JIT = pytest.mark.parametrize("jit", [False] if BACKEND == "torch" else [False, True])


@pytest.fixture(scope="module")
def data():
    """Images (N, H, W, 3) and labels (N, H, W) that follow from them."""
    images = np.random.default_rng(0).random((4, 8, 8, 3), dtype="float32")
    labels = (images.mean(3) * 6 - 1).clip(0, 3).astype("uint8")
    labels[:, :2] = 255  # not labelled
    return images, labels


@pytest.fixture(scope="module")
def weights():
    """Kernels and biases of two convolutions, as Keras has them."""
    rng = np.random.default_rng(1)
    shapes = ((3, 3, 3, 8), (8,), (1, 1, 8, 4), (4,))
    return [(0.3 * rng.normal(size=shape)).astype("float32") for shape in shapes]


def network(weights, activation=None):
    model = keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.Conv2D(4, 1, activation=activation),
        ]
    )
    model.set_weights(weights)
    return model


def trained(model, loss, data, jit=False, **options):
    model.compile(keras.optimizers.SGD(RATE), loss=loss, jit_compile=jit)
    settings = {"batch_size": 4, "epochs": EPOCHS, "shuffle": False, "verbose": 0}
    return model.fit(*data, **settings, **options).history["loss"]


def of_plain_torch(data, weights, **options):
    """The losses of the same network and steps, without Keras."""
    images, labels = torch.tensor(data[0]).movedim(-1, 1), torch.tensor(data[1])
    own = [torch.tensor(w.transpose(3, 2, 0, 1) if w.ndim == 4 else w) for w in weights]
    found = []
    for _ in range(EPOCHS):
        own = [w.detach().requires_grad_() for w in own]
        hidden = F.conv2d(images, own[0], own[1], padding=1).relu()
        logits = F.conv2d(hidden, own[2], own[3])
        loss = lovasz.cross_entropy_lovasz_softmax(logits, labels, ignore_index=255, **options)
        slopes = torch.autograd.grad(loss, own)
        own = [w - RATE * slope for w, slope in zip(own, slopes, strict=True)]
        found.append(loss.item())
    return found


@JIT
def test_every_backend_trains_to_the_same_loss(data, weights, jit):
    loss = CrossEntropyLovaszSoftmax(from_logits=True, ignore_class=255)
    want = of_plain_torch(data, weights)
    assert want[-1] < want[0]
    assert trained(network(weights), loss, data, jit) == pytest.approx(want, rel=1e-4)


def test_a_network_that_ends_in_a_softmax(data, weights):
    loss = CrossEntropyLovaszSoftmax(ignore_class=255)
    got = trained(network(weights, "softmax"), loss, data)
    assert got == pytest.approx(of_plain_torch(data, weights), rel=1e-3)


def test_weights_of_samples_reach_the_pixels(data, weights):
    weight = np.random.default_rng(2).random(data[1].shape).astype("float32")
    loss = CrossEntropyLovaszSoftmax(from_logits=True, ignore_class=255)
    want = of_plain_torch(data, weights, pixel_weight=torch.tensor(weight))
    got = trained(network(weights), loss, data, sample_weight=weight)
    assert got == pytest.approx(want, rel=1e-4)


def test_a_last_batch_of_another_size(data, weights):
    loss = LovaszSoftmax(from_logits=True, ignore_class=255)
    model = network(weights)
    model.compile("sgd", loss=loss)
    history = model.fit(*data, batch_size=3, verbose=0, shuffle=False).history
    assert np.isfinite(history["loss"][0])


def test_mixed_precision(data, weights):
    loss = CrossEntropyLovaszSoftmax(from_logits=True, ignore_class=255)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        got = trained(network(weights), loss, data)
    finally:
        keras.config.set_dtype_policy("float32")
    assert got == pytest.approx(of_plain_torch(data, weights), rel=2e-2)


def test_a_compiled_model_is_saved_with_its_loss_and_metric(data, weights, tmp_path):
    model = network(weights)
    loss = LovaszSoftmax(
        from_logits=True, ignore_class=255, set_function=lovasz.tversky(1, 2), classes=[0, 2]
    )
    metric = DatasetIoU(4, ignore_class=255, class_names=["a", "b", "c", "d"])
    model.compile("sgd", loss=loss, metrics=[metric])
    want = model.evaluate(*data, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.loss.config == loss.config
    got = loaded.evaluate(*data, verbose=0, return_dict=True)
    assert got == pytest.approx(want, rel=1e-5)
    names = {"dataset_iou", *(f"dataset_iou_{name}" for name in "abcd")}
    assert names | {"loss"} == got.keys()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="replicas of tf.distribute")
def test_replicas_take_the_mean_of_their_losses(data, weights):
    import tensorflow as tf

    loss = CrossEntropyLovaszSoftmax(from_logits=True, ignore_class=255)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = network(weights)
        model.compile(
            keras.optimizers.SGD(RATE),
            loss=loss,
            metrics=[DatasetIoU(4, ignore_class=255)],
            jit_compile=False,
        )
    images, labels = data
    with tf.GradientTape() as tape:
        parts = [loss(labels[part], model(images[part])) for part in (slice(2), slice(2, 4))]
        mean = (parts[0] + parts[1]) / 2
    slopes = tape.gradient(mean, [variable.value for variable in model.trainable_variables])
    one = DatasetIoU(4, ignore_class=255)
    one.update_state(labels, model(images))
    history = model.fit(images, labels, batch_size=4, shuffle=False, verbose=0).history
    assert history["loss"][0] == pytest.approx(float(mean), abs=1e-6)
    assert history["dataset_iou"][0] == pytest.approx(float(one.result()), abs=1e-6)
    for before, slope, after in zip(weights, slopes, model.get_weights(), strict=True):
        np.testing.assert_allclose(after, before - RATE * slope.numpy(), atol=1e-6)


def test_a_mask_of_a_layer_leaves_points_out(weights):
    """Of sequences that Masking says end early."""
    points = np.random.default_rng(3).random((2, 6, 3), dtype="float32") + 0.1
    points[0, 4:] = 0
    model = keras.Sequential([layers.Input((6, 3)), layers.Masking(), layers.Dense(1)])
    labels = (points.sum(-1) > 1.5).astype("uint8")
    scores = keras.ops.convert_to_numpy(model(points))[..., 0]
    kept = points.any(-1)
    want = lovasz.lovasz_sigmoid(torch.tensor(scores[kept]), torch.tensor(labels[kept])).item()
    model.compile("sgd", loss=LovaszSigmoid(from_logits=True))
    got = model.evaluate(points, labels, verbose=0)
    assert got == pytest.approx(want, abs=1e-6)
