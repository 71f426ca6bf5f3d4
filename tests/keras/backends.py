"""What differs between the backends: gradients, and functions that are compiled."""

import os

import keras
import numpy as np

BACKEND = os.environ["KERAS_BACKEND"]
assert keras.backend.backend() == BACKEND
if BACKEND == "tensorflow":
    import tensorflow as tf

    # Two devices, for replicas; TensorFlow wants to know before its first operation.
    (_cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(_cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def with_gradient(loss, y_true, y_pred, sample_weight=None):
    """Loss and gradient by the scores, as numbers of NumPy."""
    if BACKEND == "torch":
        import torch

        scores = torch.tensor(y_pred).requires_grad_()
        value = loss(y_true, scores, sample_weight)
        value.backward()
        return float(value), scores.grad.numpy()
    if BACKEND == "jax":
        import jax

        both = jax.value_and_grad(lambda scores: loss(y_true, scores, sample_weight))
        value, gradient = both(jax.numpy.asarray(y_pred))
        return float(value), np.asarray(gradient)
    with tf.GradientTape() as tape:
        scores = tf.constant(y_pred)
        tape.watch(scores)
        value = loss(y_true, scores, sample_weight)
    return float(value), tape.gradient(value, scores).numpy()


def compiled(loss):
    """The loss in code that was compiled, or for torch traced, before it knew any number."""
    if BACKEND == "torch":
        import torch

        return torch.compile(loss, backend="eager", fullgraph=True)
    if BACKEND == "jax":
        import jax

        return jax.jit(loss)
    return tf.function(loss, jit_compile=True, autograph=False)
