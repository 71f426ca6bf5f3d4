"""The Lovász-Softmax loss for PyTorch: exact about its error, and cheap.

>>> import torch
>>> from lovasz import lovasz_softmax
>>> logits = torch.zeros(2, 19, 8, 8, requires_grad=True)
>>> target = torch.zeros(2, 8, 8, dtype=torch.long)
>>> lovasz_softmax(logits, target, ignore_index=255).backward()

These are the names for PyTorch. torch is loaded when one of them is first used, so that parts of
the package that need no torch, such as ``lovasz.core``, can be imported where there is none.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "BinaryCrossEntropyDiceLoss",
    "BinaryCrossEntropyLovaszHingeLoss",
    "BinaryCrossEntropyLovaszSigmoidLoss",
    "CrossEntropyDiceLoss",
    "CrossEntropyLovaszSoftmaxLoss",
    "Decision",
    "DecisionFit",
    "DeepSupervision",
    "DiceLoss",
    "EquibatchSampler",
    "GeneralizedDice",
    "GeneralizedDiceLoss",
    "JaccardLoss",
    "JaccardMetric",
    "JaccardMetricLoss",
    "LabelCounts",
    "LossSchedule",
    "LossWeights",
    "LovaszHingeLoss",
    "LovaszSigmoidLoss",
    "LovaszSoftmaxLoss",
    "Region",
    "SetFunction",
    "SoftDice",
    "SoftJaccard",
    "SoftTversky",
    "TverskyLoss",
    "Window",
    "binary_cross_entropy_dice",
    "binary_cross_entropy_lovasz_hinge",
    "binary_cross_entropy_lovasz_sigmoid",
    "check_labels",
    "class_weights",
    "count_labels",
    "cross_entropy_dice",
    "cross_entropy_lovasz_hinge",
    "cross_entropy_lovasz_softmax",
    "deep_supervision",
    "dice",
    "dice_loss",
    "error_bound",
    "generalized_dice_loss",
    "image_decision",
    "jaccard",
    "jaccard_loss",
    "jaccard_metric_loss",
    "lovasz_hinge",
    "lovasz_sigmoid",
    "lovasz_sigmoid_from_probabilities",
    "lovasz_softmax",
    "lovasz_softmax_from_probabilities",
    "missed_positives",
    "relative_bound",
    "tversky",
    "tversky_loss",
    "upsampled_argmax",
]

if TYPE_CHECKING:
    from lovasz.core.bins import (
        error_bound,
        relative_bound,
    )
    from lovasz.core.regions import (
        GeneralizedDice,
        JaccardMetric,
        Region,
        SoftDice,
        SoftJaccard,
        SoftTversky,
    )
    from lovasz.core.set_functions import (
        SetFunction,
        dice,
        jaccard,
        missed_positives,
        tversky,
    )
    from lovasz.data.class_weights import (
        class_weights,
    )
    from lovasz.data.label_counts import (
        LabelCounts,
        count_labels,
    )
    from lovasz.data.labels import (
        check_labels,
    )
    from lovasz.data.samplers import (
        EquibatchSampler,
    )
    from lovasz.decisions.decision import (
        Decision,
    )
    from lovasz.decisions.fit import (
        DecisionFit,
    )
    from lovasz.decisions.images import (
        image_decision,
    )
    from lovasz.losses.cross_entropy_dice import (
        BinaryCrossEntropyDiceLoss,
        CrossEntropyDiceLoss,
        binary_cross_entropy_dice,
        cross_entropy_dice,
    )
    from lovasz.losses.deep_supervision import DeepSupervision, deep_supervision
    from lovasz.losses.hinge import (
        binary_cross_entropy_lovasz_hinge,
        cross_entropy_lovasz_hinge,
        lovasz_hinge,
    )
    from lovasz.losses.modules import (
        BinaryCrossEntropyLovaszHingeLoss,
        BinaryCrossEntropyLovaszSigmoidLoss,
        CrossEntropyLovaszSoftmaxLoss,
        LovaszHingeLoss,
        LovaszSigmoidLoss,
        LovaszSoftmaxLoss,
    )
    from lovasz.losses.region_modules import (
        DiceLoss,
        GeneralizedDiceLoss,
        JaccardLoss,
        JaccardMetricLoss,
        TverskyLoss,
    )
    from lovasz.losses.regions import (
        dice_loss,
        generalized_dice_loss,
        jaccard_loss,
        jaccard_metric_loss,
        tversky_loss,
    )
    from lovasz.losses.schedules import (
        LossSchedule,
        LossWeights,
    )
    from lovasz.losses.sigmoid import (
        binary_cross_entropy_lovasz_sigmoid,
        lovasz_sigmoid,
        lovasz_sigmoid_from_probabilities,
    )
    from lovasz.losses.softmax import (
        cross_entropy_lovasz_softmax,
        lovasz_softmax,
        lovasz_softmax_from_probabilities,
    )
    from lovasz.losses.window import (
        Window,
    )
    from lovasz.predictions import (
        upsampled_argmax,
    )
else:
    # Type checkers read the imports above, and would take any name for good if they saw this.
    _MODULES = {
        "BinaryCrossEntropyDiceLoss": "losses.cross_entropy_dice",
        "BinaryCrossEntropyLovaszHingeLoss": "losses.modules",
        "BinaryCrossEntropyLovaszSigmoidLoss": "losses.modules",
        "CrossEntropyDiceLoss": "losses.cross_entropy_dice",
        "CrossEntropyLovaszSoftmaxLoss": "losses.modules",
        "Decision": "decisions.decision",
        "DecisionFit": "decisions.fit",
        "DeepSupervision": "losses.deep_supervision",
        "DiceLoss": "losses.region_modules",
        "EquibatchSampler": "data.samplers",
        "GeneralizedDice": "core.regions",
        "GeneralizedDiceLoss": "losses.region_modules",
        "JaccardLoss": "losses.region_modules",
        "JaccardMetric": "core.regions",
        "JaccardMetricLoss": "losses.region_modules",
        "LabelCounts": "data.label_counts",
        "LossSchedule": "losses.schedules",
        "LossWeights": "losses.schedules",
        "LovaszHingeLoss": "losses.modules",
        "LovaszSigmoidLoss": "losses.modules",
        "LovaszSoftmaxLoss": "losses.modules",
        "Region": "core.regions",
        "SetFunction": "core.set_functions",
        "SoftDice": "core.regions",
        "SoftJaccard": "core.regions",
        "SoftTversky": "core.regions",
        "TverskyLoss": "losses.region_modules",
        "Window": "losses.window",
        "binary_cross_entropy_dice": "losses.cross_entropy_dice",
        "binary_cross_entropy_lovasz_hinge": "losses.hinge",
        "binary_cross_entropy_lovasz_sigmoid": "losses.sigmoid",
        "check_labels": "data.labels",
        "class_weights": "data.class_weights",
        "count_labels": "data.label_counts",
        "cross_entropy_dice": "losses.cross_entropy_dice",
        "cross_entropy_lovasz_hinge": "losses.hinge",
        "cross_entropy_lovasz_softmax": "losses.softmax",
        "deep_supervision": "losses.deep_supervision",
        "dice": "core.set_functions",
        "dice_loss": "losses.regions",
        "error_bound": "core.bins",
        "generalized_dice_loss": "losses.regions",
        "image_decision": "decisions.images",
        "jaccard": "core.set_functions",
        "jaccard_loss": "losses.regions",
        "jaccard_metric_loss": "losses.regions",
        "lovasz_hinge": "losses.hinge",
        "lovasz_sigmoid": "losses.sigmoid",
        "lovasz_sigmoid_from_probabilities": "losses.sigmoid",
        "lovasz_softmax": "losses.softmax",
        "lovasz_softmax_from_probabilities": "losses.softmax",
        "missed_positives": "core.set_functions",
        "relative_bound": "core.bins",
        "tversky": "core.set_functions",
        "tversky_loss": "losses.regions",
        "upsampled_argmax": "predictions",
    }

    def __getattr__(name):
        """Load a public name, and with it torch, at its first use."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if not _MODULES[name].startswith("core."):
            _check_torch(name)
        value = getattr(import_module(f"lovasz.{_MODULES[name]}"), name)
        globals()[name] = value  # the next use is a plain look-up
        return value

    def _check_torch(name):
        """No dependency of the package says that torch has to be there, nor how new."""
        expected = f"lovasz.{name}: expected torch 2.10 or newer (pip install 'torch>=2.10')"
        try:
            version = import_module("torch").__version__
        except ModuleNotFoundError as error:
            if error.name != "torch":  # it is there, and lacks something itself
                raise
            raise ImportError(f"{expected}, got: {error}") from error
        if tuple(int(part) for part in version.split(".")[:2]) < (2, 10):
            raise ImportError(f"{expected}, got {version}")

    def __dir__():
        return sorted({*globals(), *__all__})
