"""Options of the losses: checked when a loss is made, and as they are saved with a model."""

from __future__ import annotations

import math
from typing import Any

import keras

from lovasz.core.options import CrossEntropy, Options, check_flags
from lovasz.core.set_functions import SetFunction, Tversky, jaccard, missed_positives

# What the functions call options to which Keras gives names of its own.
NAMES = {"ignore_class": "ignore_index", "class_weight": "weight"}
_BY_NAME = {"jaccard": jaccard, "missed_positives": missed_positives}


def check(name: str, config: dict[str, Any], *, multilabel: bool) -> dict[str, Any]:
    """The options of a loss, in types that can be saved.

    Args:
        name: of the loss, for sentences about wrong options.
        config: options by their names in Keras.
        multilabel: whether each channel has labels of its own.

    Raises:
        TypeError: for an option of a wrong type.
        ValueError: for an option of a wrong value.
    """
    config = dict(config)
    for argument in ("class_weight", "lovasz_class_weight", "pos_weight"):
        if config.get(argument) is not None:
            config[argument] = _numbers(name, argument, config[argument])
    if "from_logits" in config:
        check_flags(name, from_logits=config["from_logits"])
    cross_entropy = None
    if "cross_entropy_weight" in config:
        smoothing = config.get("label_smoothing", 0.0)
        cross_entropy = CrossEntropy(config["cross_entropy_weight"], None, smoothing)
    options = Options(
        classes=config["classes"],
        ignore_index=config["ignore_class"],
        normalize_weight=config["normalize_weight"],
        per_image=config["per_image"],
        method=config.get("method", "histogram"),
        bins=config["bins"],
        multilabel=config.get("multilabel"),
        symmetric=config.get("symmetric", False),
        cross_entropy=cross_entropy,
        lovasz_factor=config.get("lovasz_weight", 1.0),
    )
    try:
        options.check(name, multilabel=multilabel)
    except (TypeError, ValueError) as error:
        raise type(error)(in_words_of_keras(error)) from None
    if not isinstance(config["classes"], str):
        config["classes"] = list(config["classes"])
    return config


def in_words_of_keras(error: Exception, function: str = "", name: str = "") -> str:
    """The sentence of a function's error with the names that there are here."""
    sentence = str(error).replace("ignore_index", "ignore_class").replace("target", "y_true")
    other = function.removesuffix("_from_probabilities")
    sentence = sentence.replace(f"(use {other} for logits)", "(pass from_logits=True for logits)")
    return sentence.replace(f"{function}:", f"{name}:", 1) if function else sentence


def saved(set_function: SetFunction) -> Any:
    """A set function as JSON can hold it."""
    if isinstance(set_function, Tversky):
        return {"tversky": [set_function.alpha, set_function.beta]}
    for name, known in _BY_NAME.items():
        if set_function is known:
            return name
    return keras.saving.serialize_keras_object(set_function)


def restored(value: Any) -> SetFunction:
    """The set function that `saved` was given."""
    if isinstance(value, dict) and "tversky" in value:
        return Tversky(*value["tversky"])
    function: SetFunction
    if isinstance(value, str):
        function = _BY_NAME[value]
    else:
        function = keras.saving.deserialize_keras_object(value)
    return function


def _numbers(name: str, argument: str, values: Any) -> list[float]:
    """Weights of classes, as a list."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = None
    if numbers is None or isinstance(values, dict | str):
        raise TypeError(
            f"{name}: expected {argument} to be a number for each class, in their order, got"
            f" {values!r}"
        )
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise ValueError(
            f"{name}: expected {argument} to be finite and not negative, got {numbers}"
        )
    return numbers
