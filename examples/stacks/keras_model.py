"""The loss for a Keras model on torch. Lines that differ from one with cross-entropy are marked.

python examples/stacks/keras_model.py
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy
from keras import layers

from lovasz import cross_entropy_lovasz_softmax  # new


def data(number=8):
    """Images (N, H, W, 3) and labels (N, H, W): Keras has the channels last."""
    images = numpy.random.default_rng(0).random((number, 24, 24, 3), dtype="float32")
    target = (images.mean(3) * 6 - 1).clip(0, 3).astype("int64")
    target[:, :2] = 255  # not labelled
    return images, target


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            layers.Input((24, 24, 3)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(4, 1),  # logits: no activation
        ]
    )


# was: loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
def loss(y, x):
    return cross_entropy_lovasz_softmax(x.movedim(-1, 1), y.long(), ignore_index=255)  # new


def train(epochs=2):
    model = network()
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss=loss)
    return model, model.fit(*data(), batch_size=4, epochs=epochs, shuffle=False, verbose=0)


if __name__ == "__main__":
    model, history = train()
    print(f"loss {history.history['loss'][-1]:.4f}")
