"""A small U-Net in Flax with the loss for JAX, on the embedded satellite images.

    python examples/jax/unet.py [STEPS]

Needs ``pip install 'lovasz[jax]' flax optax pillow`` and the two files of images, which are in the
checkout. 300 steps, the default, take some minutes on two cores. Nothing here needs PyTorch.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from PIL import Image

from lovasz.jax import cross_entropy_lovasz_softmax

FILES = Path(__file__).parents[2] / "src" / "lovasz" / "train" / "data" / "files"
CLASSES, TILE, WATER, ICE = 17, 96, 0, 15


def tiles(name):
    """The tiles of one file, rows by columns, (N, 96, 96) or (N, 96, 96, 3)."""
    Image.MAX_IMAGE_PIXELS = None
    whole = np.asarray(Image.open(FILES / name))
    rows, columns = whole.shape[0] // TILE, whole.shape[1] // TILE
    whole = whole[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, -1)
    return whole.swapaxes(1, 2).reshape(rows * columns, TILE, TILE, -1).squeeze()


class Block(nnx.Module):
    """Two convolutions, each normalised by groups of channels."""

    def __init__(self, inputs, outputs, rngs):
        self.convolutions = nnx.List(
            [nnx.Conv(n, outputs, (3, 3), rngs=rngs) for n in (inputs, outputs)]
        )
        self.norms = nnx.List([nnx.GroupNorm(outputs, num_groups=8, rngs=rngs) for _ in range(2)])

    def __call__(self, x):
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = nnx.relu(norm(convolution(x)))
        return x


class UNet(nnx.Module):
    """From images (N, H, W, 3) to logits (N, H, W, C), H and W multiples of 4."""

    def __init__(self, classes, rngs, width=16):
        self.down = nnx.List([Block(3, width, rngs), Block(width, 2 * width, rngs)])
        self.deepest = Block(2 * width, 4 * width, rngs)
        self.up = nnx.List([Block(6 * width, 2 * width, rngs), Block(3 * width, width, rngs)])
        self.head = nnx.Conv(width, classes, (1, 1), rngs=rngs)

    def __call__(self, x):
        beside = []
        for block in self.down:
            beside.append(block(x))
            x = nnx.max_pool(beside[-1], (2, 2), strides=(2, 2))
        x = self.deepest(x)
        for block, skip in zip(self.up, reversed(beside), strict=True):
            x = jax.image.resize(x, (*skip.shape[:3], x.shape[3]), "nearest")
            x = block(jnp.concatenate((x, skip), -1))
        return self.head(x)


@nnx.jit
def step(model, optimizer, images, labels):
    """One step of the optimizer, and the loss before it."""

    def loss(model):
        logits = model(images.astype(jnp.float32) / 255 - 0.5)
        return cross_entropy_lovasz_softmax(logits, labels)

    value, gradients = nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradients)
    return value


def train(steps, batch=8, width=16, seed=0):
    """The losses of all steps, and the mean IoU on every fifth tile, which none of them saw."""
    images, labels = tiles("blue_marble.jpg"), tiles("igbp17.png")
    land = ((labels == WATER).mean((1, 2)) <= 0.8) & ((labels == ICE).mean((1, 2)) <= 0.8)
    images, labels = images[land], labels[land]
    held_out = np.arange(len(images)) % 5 == 0
    model = UNet(CLASSES, nnx.Rngs(seed), width)
    optimizer = nnx.Optimizer(model, optax.adamw(3e-3), wrt=nnx.Param)
    order, losses = np.random.default_rng(seed), []
    for number in range(steps):
        chosen = order.choice(np.flatnonzero(~held_out), batch, replace=False)
        losses.append(float(step(model, optimizer, images[chosen], labels[chosen])))
        if number % 20 == 0:
            print(f"step {number}: loss {losses[-1]:.3f}")
    return losses, mean_iou(model, images[held_out], labels[held_out], batch)


def mean_iou(model, images, labels, batch):
    """Of the classes that the labels have."""
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    predict = nnx.jit(lambda model, x: model(x.astype(jnp.float32) / 255 - 0.5).argmax(-1))
    for i in range(0, len(images) - batch + 1, batch):
        found = np.asarray(predict(model, images[i : i + batch]))
        pairs = labels[i : i + batch].astype(np.int64) * CLASSES + found
        counts += np.bincount(pairs.ravel(), minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    present = counts.sum(1) > 0
    return (counts.diagonal()[present] / union[present]).mean()


if __name__ == "__main__":
    _, iou = train(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
    print(f"mean IoU on tiles that were held out: {iou:.3f}")
