"""The losses of channels as modules: they keep the options and call the functions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.kernels import DEFAULT_BINS
from lovasz.losses import _inputs
from lovasz.losses._channels import check_channel_options
from lovasz.losses._module import Loss
from lovasz.losses.combined import binary_cross_entropy_lovasz_sigmoid
from lovasz.losses.distributed import Group, check_group
from lovasz.losses.hinge import lovasz_hinge
from lovasz.losses.sigmoid import lovasz_sigmoid
from lovasz.losses.window import make_window

__all__ = ["BinaryCrossEntropyLovaszSigmoidLoss", "LovaszHingeLoss", "LovaszSigmoidLoss"]


class LovaszSigmoidLoss(Loss):
    r"""Lovász loss of the sigmoid of logits, as a module.

    Definition, arguments, result and errors are those of `lovasz_sigmoid`; options are checked when
    the module is made.

    Args:
        multilabel: whether axis 1 of the logits holds channels, each a set of its own.
        symmetric: mean of the losses of every set and of its complement.
        classes: "all", "present", or a list of channels.
        ignore_index: label of the pixels to leave out, or None.
        weight: (C,), weights of the channels, or None; a buffer that moves with the module.
        normalize_weight: divide a mean by the weights of the channels, not their number.
        per_image: average the losses of the images.
        reduction: "mean", "sum" or "none".
        set_function: Δ(fn, fp, positives).
        method: "histogram" or "sort".
        bins: number of bins of the histogram method.
        momentum: as for `LovaszSoftmaxLoss`.
        process_group: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: see `lovasz_sigmoid`.
        - target: see `lovasz_sigmoid`.
        - output: scalar; (C,) or (N, C) for ``reduction="none"``.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = LovaszSigmoidLoss()
        >>> logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.ones(2, 1, 4, 4)).backward()

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """

    function = staticmethod(lovasz_sigmoid)

    def __init__(
        self,
        *,
        multilabel: bool | None = None,
        symmetric: bool = False,
        classes: str | Sequence[int] = "all",
        ignore_index: int | None = None,
        weight: Tensor | Sequence[float] | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        reduction: str = "mean",
        set_function: SetFunction = jaccard,
        method: str = "histogram",
        bins: int = DEFAULT_BINS,
        momentum: float | None = None,
        process_group: Group = None,
    ) -> None:
        name = type(self).__name__
        checked = {
            "ignore_index": ignore_index,
            "per_image": per_image,
            "normalize_weight": normalize_weight,
            "reduction": reduction,
            "set_function": set_function,
            "method": method,
            "bins": bins,
        }
        _inputs.check_options(name, **checked)
        _inputs.check_classes(name, classes)
        check_channel_options(
            name, multilabel=multilabel, symmetric=symmetric, ignore_index=ignore_index
        )
        check_group(name, process_group, per_image=per_image, reduction=reduction, method=method)
        super().__init__(
            make_window(name, momentum, per_image=per_image, method=method),
            {
                "multilabel": multilabel,
                "symmetric": symmetric,
                "classes": classes,
                **checked,
                "process_group": process_group,
            },
            {"weight": _inputs.class_weight(name, weight)},
        )


class LovaszHingeLoss(Loss):
    r"""Lovász hinge loss, as a module.

    Definition, arguments, result and errors are those of `lovasz_hinge`; options are checked when
    the module is made.

    Args:
        activation: "relu" or "elu".
        multilabel: whether axis 1 of the logits holds channels, each a set of its own.
        symmetric: mean of the losses of every set and of its complement.
        classes: "all", "present", or a list of channels.
        ignore_index: label of the pixels to leave out, or None.
        weight: (C,), weights of the channels, or None; a buffer that moves with the module.
        normalize_weight: divide a mean by the weights of the channels, not their number.
        per_image: average the losses of the images.
        reduction: "mean", "sum" or "none".
        set_function: Δ(fn, fp, positives).
        method: "histogram" or "sort".
        bins: number of bins of the histogram method.
        momentum: as for `LovaszSoftmaxLoss`.
        process_group: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: see `lovasz_sigmoid`.
        - target: see `lovasz_sigmoid`.
        - output: scalar; (C,) or (N, C) for ``reduction="none"``.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = LovaszHingeLoss(per_image=True, ignore_index=255)
        >>> logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.ones(2, 1, 4, 4)).backward()

    References:
        Yu, Blaschko, ICML 2015; Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """

    function = staticmethod(lovasz_hinge)

    def __init__(
        self,
        *,
        activation: str = "relu",
        multilabel: bool | None = None,
        symmetric: bool = False,
        classes: str | Sequence[int] = "all",
        ignore_index: int | None = None,
        weight: Tensor | Sequence[float] | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        reduction: str = "mean",
        set_function: SetFunction = jaccard,
        method: str = "histogram",
        bins: int = DEFAULT_BINS,
        momentum: float | None = None,
        process_group: Group = None,
    ) -> None:
        name = type(self).__name__
        checked = {
            "ignore_index": ignore_index,
            "per_image": per_image,
            "normalize_weight": normalize_weight,
            "reduction": reduction,
            "set_function": set_function,
            "method": method,
            "bins": bins,
        }
        _inputs.check_choice(name, "activation", activation, ("relu", "elu"))
        _inputs.check_options(name, **checked)
        _inputs.check_classes(name, classes)
        check_channel_options(
            name, multilabel=multilabel, symmetric=symmetric, ignore_index=ignore_index
        )
        check_group(name, process_group, per_image=per_image, reduction=reduction, method=method)
        super().__init__(
            make_window(name, momentum, per_image=per_image, method=method),
            {
                "activation": activation,
                "multilabel": multilabel,
                "symmetric": symmetric,
                "classes": classes,
                **checked,
                "process_group": process_group,
            },
            {"weight": _inputs.class_weight(name, weight)},
        )


class BinaryCrossEntropyLovaszSigmoidLoss(Loss):
    r"""Binary cross-entropy and the Lovász loss of the sigmoid together, as a module.

    Definition, arguments, result and errors are those of `binary_cross_entropy_lovasz_sigmoid`;
    options are checked when the module is made.

    Args:
        cross_entropy_weight: factor of the binary cross-entropy.
        lovasz_weight: factor of the Lovász loss.
        pos_weight: (C,), weights of the ones in the cross-entropy, or None; a buffer.
        multilabel: whether axis 1 of the logits holds channels, each a set of its own.
        symmetric: mean of the losses of every set and of its complement.
        classes: "all", "present", or a list of channels.
        ignore_index: label of the pixels to leave out, or None.
        lovasz_class_weight: (C,), weights of the channels in the Lovász loss, or None; a buffer.
        normalize_weight: divide a mean by the weights of the channels, not their number.
        per_image: average the Lovász losses of the images.
        set_function: Δ(fn, fp, positives).
        bins: number of bins.
        momentum: as for `LovaszSoftmaxLoss`.
        process_group: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: see `lovasz_sigmoid`.
        - target: see `lovasz_sigmoid`.
        - output: scalar.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = BinaryCrossEntropyLovaszSigmoidLoss(multilabel=True)
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.ones(2, 3, 4, 4)).backward()

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """

    function = staticmethod(binary_cross_entropy_lovasz_sigmoid)

    def __init__(
        self,
        *,
        cross_entropy_weight: float = 1.0,
        lovasz_weight: float = 1.0,
        pos_weight: Tensor | Sequence[float] | None = None,
        multilabel: bool | None = None,
        symmetric: bool = False,
        classes: str | Sequence[int] = "all",
        ignore_index: int | None = None,
        lovasz_class_weight: Tensor | Sequence[float] | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        set_function: SetFunction = jaccard,
        bins: int = DEFAULT_BINS,
        momentum: float | None = None,
        process_group: Group = None,
    ) -> None:
        name = type(self).__name__
        checked = {
            "ignore_index": ignore_index,
            "per_image": per_image,
            "normalize_weight": normalize_weight,
            "set_function": set_function,
            "bins": bins,
        }
        _inputs.check_options(name, **checked)
        _inputs.check_mixture(name, cross_entropy_weight, lovasz_weight)
        _inputs.check_classes(name, classes)
        check_channel_options(
            name, multilabel=multilabel, symmetric=symmetric, ignore_index=ignore_index
        )
        alpha = _inputs.class_weight(name, lovasz_class_weight, argument="lovasz_class_weight")
        check_group(name, process_group, per_image=per_image)
        super().__init__(
            make_window(name, momentum, per_image=per_image),
            {
                "cross_entropy_weight": cross_entropy_weight,
                "lovasz_weight": lovasz_weight,
                "multilabel": multilabel,
                "symmetric": symmetric,
                "classes": classes,
                **checked,
                "process_group": process_group,
            },
            {
                "pos_weight": _inputs.class_weight(name, pos_weight, argument="pos_weight"),
                "lovasz_class_weight": alpha,
            },
        )
