"""The losses with the signature of mmsegmentation and mmdetection3d, for the registries of both."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from lovasz.compat._files import read_class_weight
from lovasz.core.options import check_flags
from lovasz.integrations._registry import RegistryLoss
from lovasz.losses._classes import ClassWeights
from lovasz.losses.cross_entropy_dice import BinaryCrossEntropyDiceLoss as _BinaryCrossEntropyDice
from lovasz.losses.cross_entropy_dice import CrossEntropyDiceLoss as _CrossEntropyDice
from lovasz.losses.modules import BinaryCrossEntropyLovaszHingeLoss as _BinaryCrossEntropyHinge
from lovasz.losses.modules import BinaryCrossEntropyLovaszSigmoidLoss as _BinaryCrossEntropySigmoid
from lovasz.losses.modules import CrossEntropyLovaszSoftmaxLoss as _CrossEntropySoftmax
from lovasz.losses.modules import LovaszHingeLoss as _Hinge
from lovasz.losses.modules import LovaszSigmoidLoss as _Sigmoid
from lovasz.losses.modules import LovaszSoftmaxLoss as _Softmax


class OpenMMLabLoss(RegistryLoss):
    """A loss of this package as a decode head builds and calls it.

    Labels to ignore are those of the head, which passes them with every call.

    Args:
        loss_weight: factor of the loss, finite and not negative.
        class_weight: (C,), class weights, or the name of a .npy, .json or .yaml file with them; of
            the cross-entropy where there is one, and for binary cross-entropy the weights of the
            ones.
        loss_name: name under which a head reports the loss; what begins with "loss_" is trained.
            None: that of the class.
        per_sample: mmdetection3d's name of ``per_image``.
        options: of the loss of the same name in `lovasz`, all of them but ``ignore_index``.

    Shape:
        - cls_score: (N, C, *) or (P, C), as the loss of the same name takes it.
        - label: (N, *) or (P,).
        - weight: of the shape of label, or None.
        - output: scalar.

    Raises:
        TypeError: for options that the loss does not have, or of a wrong type.
        ValueError: for options of a wrong value, and for an ``avg_factor`` or a reduction other
            than the mean, because these losses are no sums over pixels.

    Examples:
        >>> import torch
        >>> criterion = CrossEntropyLovaszSoftmaxLoss(loss_weight=0.5, lovasz_weight=2.0)
        >>> scores = torch.zeros(2, 19, 8, 8, requires_grad=True)
        >>> label = torch.full((2, 8, 8), 3)
        >>> criterion(scores, label, ignore_index=255).backward()
        >>> criterion.loss_name
        'loss_ce_lovasz'
    """

    default_name: ClassVar[str]

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        class_weight: ClassWeights | str | None = None,
        loss_name: str | None = None,
        per_sample: bool | None = None,
        **options: Any,
    ) -> None:
        name = type(self).__name__
        loss_name = self.default_name if loss_name is None else loss_name
        if not isinstance(loss_name, str) or not loss_name.startswith("loss_"):
            raise ValueError(
                f'{name}: expected loss_name to begin with "loss_", without which a loss is logged'
                f" and not trained, got {loss_name!r}"
            )
        if "ignore_index" in options:
            raise TypeError(
                f"{name}: expected ignore_index as an option of the head, which passes it to its"
                f" losses, got ignore_index={options['ignore_index']!r}"
            )
        if per_sample is not None:
            check_flags(name, per_sample=per_sample)
            options["per_image"] = per_sample
        weights: Any = read_class_weight(name, class_weight)
        super().__init__(loss_weight=loss_weight, class_weight=weights, **options)
        self._loss_name = loss_name

    @property
    def loss_name(self) -> str:
        """Name under which a head reports the loss."""
        return self._loss_name

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = 255,
        **tensors: Any,
    ) -> Tensor:
        """Loss of scores and labels; ``weight`` are weights of pixels, as a sampler gives them."""
        name = type(self).__name__
        if avg_factor is not None:
            raise ValueError(
                f"{name}: expected avg_factor=None, because an IoU is no sum over pixels that could"
                f" be divided by it, got {avg_factor!r}"
            )
        if reduction_override not in (None, "mean"):
            raise ValueError(
                f"{name}: expected reduction_override to be None or 'mean', because pixels have no"
                f" losses of their own, got {reduction_override!r}; for an OHEMPixelSampler set its"
                " thresh"
            )
        self.loss.ignore_index = ignore_index
        return self.value(cls_score, label, pixel_weight=weight, **tensors)

    def upsample(self, align_corners: bool) -> None:
        """From now on interpolate scores to the resolution of the labels."""
        self.loss.upsample, self.loss.align_corners = "bilinear", align_corners


class CrossEntropyLovaszSoftmaxLoss(OpenMMLabLoss):
    """`lovasz.CrossEntropyLovaszSoftmaxLoss` for a head; see `OpenMMLabLoss`."""

    loss_class = _CrossEntropySoftmax
    default_name = "loss_ce_lovasz"


class LovaszSoftmaxLoss(OpenMMLabLoss):
    """`lovasz.LovaszSoftmaxLoss` for a head; see `OpenMMLabLoss`."""

    loss_class = _Softmax
    default_name = "loss_lovasz"


class CrossEntropyDiceLoss(OpenMMLabLoss):
    """`lovasz.CrossEntropyDiceLoss` for a head; see `OpenMMLabLoss`."""

    loss_class = _CrossEntropyDice
    default_name = "loss_ce_dice"


class LovaszSigmoidLoss(OpenMMLabLoss):
    """`lovasz.LovaszSigmoidLoss` for a head of one channel; see `OpenMMLabLoss`."""

    loss_class = _Sigmoid
    default_name = "loss_lovasz"


class LovaszHingeLoss(OpenMMLabLoss):
    """`lovasz.LovaszHingeLoss` for a head of one channel; see `OpenMMLabLoss`."""

    loss_class = _Hinge
    default_name = "loss_lovasz"


class BinaryCrossEntropyLovaszSigmoidLoss(OpenMMLabLoss):
    """`lovasz.BinaryCrossEntropyLovaszSigmoidLoss` for a head; see `OpenMMLabLoss`."""

    loss_class = _BinaryCrossEntropySigmoid
    weight_option = "pos_weight"
    default_name = "loss_bce_lovasz"


class BinaryCrossEntropyLovaszHingeLoss(OpenMMLabLoss):
    """`lovasz.BinaryCrossEntropyLovaszHingeLoss` for a head; see `OpenMMLabLoss`."""

    loss_class = _BinaryCrossEntropyHinge
    weight_option = "pos_weight"
    default_name = "loss_bce_lovasz"


class BinaryCrossEntropyDiceLoss(OpenMMLabLoss):
    """`lovasz.BinaryCrossEntropyDiceLoss` for a head of one channel; see `OpenMMLabLoss`."""

    loss_class = _BinaryCrossEntropyDice
    weight_option = "pos_weight"
    default_name = "loss_bce_dice"


LOSSES: tuple[type[OpenMMLabLoss], ...] = (
    BinaryCrossEntropyDiceLoss,
    BinaryCrossEntropyLovaszHingeLoss,
    BinaryCrossEntropyLovaszSigmoidLoss,
    CrossEntropyDiceLoss,
    CrossEntropyLovaszSoftmaxLoss,
    LovaszHingeLoss,
    LovaszSigmoidLoss,
    LovaszSoftmaxLoss,
)
