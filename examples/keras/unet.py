"""A small U-Net in Keras with the loss and its metric, on the embedded satellite images.

    KERAS_BACKEND=jax python examples/keras/unet.py [STEPS]

On whichever backend KERAS_BACKEND names: torch, jax or tensorflow. Needs that backend,
``pip install 'lovasz[keras]' pillow`` and the two files of images, which are in the checkout. 300
steps, the default, take some minutes on two cores.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers
from PIL import Image

from lovasz.keras import CrossEntropyLovaszSoftmax, DatasetIoU

FILES = Path(__file__).parents[2] / "src" / "lovasz" / "train" / "data" / "files"
CLASSES, IGNORED, TILE, BATCH = 17, 255, 96, 8


def tiles(name):
    """The tiles of one file, rows by columns, (N, 96, 96) or (N, 96, 96, 3)."""
    whole = np.asarray(Image.open(FILES / name))
    rows, columns = whole.shape[0] // TILE, whole.shape[1] // TILE
    whole = whole[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, -1)
    return whole.swapaxes(1, 2).reshape(rows * columns, TILE, TILE, -1).squeeze()


def block(x, width):
    """Two convolutions, each normalised by groups of channels."""
    for _ in range(2):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.GroupNormalization(8)(x))
    return x


def network(width=16):
    """From images (N, H, W, 3) to logits (N, H, W, C), H and W multiples of 4."""
    images = keras.Input((None, None, 3))
    x, beside = layers.Rescaling(1 / 255, -0.5)(images), []
    for depth in range(2):
        beside.append(block(x, width * 2**depth))
        x = layers.MaxPooling2D()(beside[-1])
    x = block(x, 4 * width)
    for depth in (1, 0):
        x = layers.Concatenate()([layers.UpSampling2D()(x), beside[depth]])
        x = block(x, width * 2**depth)
    return keras.Model(images, layers.Conv2D(CLASSES, 1)(x))  # logits: no activation


def train(steps, seed=0):
    """The history of one epoch of so many steps."""
    keras.utils.set_random_seed(seed)
    images, labels = tiles("blue_marble.jpg"), tiles("igbp17.png")
    land = (labels != labels[:, :1, :1]).any((1, 2))  # not the open sea
    images, labels = images[land], labels[land]
    chosen = np.random.default_rng(seed).choice(len(images), steps * BATCH)
    model = network()
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=CrossEntropyLovaszSoftmax(from_logits=True, ignore_class=IGNORED),
        metrics=[DatasetIoU(CLASSES, ignore_class=IGNORED)],
    )
    return model.fit(images[chosen], labels[chosen], batch_size=BATCH, verbose=2).history


if __name__ == "__main__":
    train(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
