"""What the losses share: options, what Keras calls them with, and how they are saved."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

# It has no public name; a mask that was not looked for would be lost without a word.
from keras.src.backend import get_keras_mask

from lovasz.keras.functions import functions
from lovasz.keras.labels import Pixels, classes_of, masks_of
from lovasz.keras.options import NAMES, check, in_words_of_keras, restored, saved

registered = keras.saving.register_keras_serializable("lovasz")


class SegmentationLoss(keras.losses.Loss):
    """A loss of all pixels of a batch together: one number, of which there is no sum over samples.

    Args:
        multilabel: whether each channel has labels of its own.
        name: of the loss in a model.
        dtype: in which scores are computed with; None: ``keras.config.floatx()``.
        config: options by their names in Keras, as `get_config` is to return them.
    """

    def __init__(
        self, *, multilabel: bool, name: str | None, dtype: Any, config: dict[str, Any]
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.config = check(type(self).__name__, config, multilabel=multilabel)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch.

        Args:
            y_true: labels, of any integer dtype or whole floats. They are never rounded.
            y_pred: scores.
            sample_weight: a number for each image, or for each label, in [0, 65536]: how much a
                pixel counts in the set function, and in the cross-entropy.

        Returns:
            A scalar.
        """
        value = self._loss(y_true, y_pred, sample_weight)
        return functions.of_replica(ops.cast(value, self.dtype))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a batch whose pixels all count the same."""
        return self._loss(y_true, y_pred, None)

    def get_config(self) -> dict[str, Any]:
        """What the loss is made from."""
        config = {**self.config, "set_function": saved(self.config["set_function"])}
        return {"name": self.name, "dtype": self.dtype, **config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SegmentationLoss:
        """The loss of which this is what `get_config` returned."""
        return cls(**{**config, "set_function": restored(config["set_function"])})

    def read(self, y_true: Any, y_pred: Any, weights: tuple[Any, Any]) -> Pixels:
        """Scores and labels as the functions take them, and the weights of samples and a mask."""
        raise NotImplementedError

    @property
    def function(self) -> str:
        """Name of the function, one of ``lovasz.keras.functions``."""
        raise NotImplementedError

    def _loss(self, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
        mask = get_keras_mask(y_pred)
        y_pred = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        pixels = self.read(y_true, y_pred, (sample_weight, mask))
        options = {
            NAMES.get(key, key): value
            for key, value in self.config.items()
            if key not in ("from_logits", "multilabel", "axis")
        }
        function = getattr(functions, self.function)
        places = {"axis": pixels.axis, "pixel_weight": pixels.weight}
        try:
            return function(pixels.scores, pixels.labels, **places, **options)
        except (TypeError, ValueError) as error:
            sentence = in_words_of_keras(error, self.function, type(self).__name__)
            raise type(error)(sentence) from None


class OfClasses(SegmentationLoss):
    """Labels are classes that exclude each other."""

    def read(self, y_true: Any, y_pred: Any, weights: tuple[Any, Any]) -> Pixels:
        """Scores and class indices."""
        name, c = type(self).__name__, self.config
        return classes_of(name, y_true, y_pred, weights, c["axis"], c["ignore_class"])


class OfMasks(SegmentationLoss):
    """Labels are masks of zeros and ones."""

    def read(self, y_true: Any, y_pred: Any, weights: tuple[Any, Any]) -> Pixels:
        """Scores with the channels last, or of one channel without an axis, and zeros and ones."""
        return masks_of(type(self).__name__, y_true, y_pred, weights, self.config["multilabel"])
