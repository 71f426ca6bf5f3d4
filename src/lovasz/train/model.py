"""The network: a small U-Net of MONAI, or any factory that can be imported."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch.nn import functional as F

from lovasz.train.errors import UserError
from lovasz.train.outputs import described, outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lovasz.train.config import Config
    from lovasz.train.data import DataSet

GROUPS = 8  # of channels, in a layer whose number of channels they divide


class HalfResolutionUNet(nn.Module):
    """MONAI's U-Net on 2 x 2 pixels at a time, with logits of half the resolution of the image.

    Most segmentation networks predict at a lower resolution than that of the image. It saves
    time for more epochs, and the checkerboards of transposed convolutions. Loss and evaluation
    interpolate, so that the enlarged logits are never stored.
    """

    def __init__(self, in_channels: int, num_classes: int, channels: Sequence[int]) -> None:
        super().__init__()
        strides = (2,) * (len(channels) - 1)
        self.unet = UNet(
            2, 4 * in_channels, num_classes, tuple(channels), strides, num_res_units=1, norm="batch"
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes, H / 2, W / 2)."""
        blocks = F.pixel_unshuffle(images, 2).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.unet(blocks)
        return logits


def unet(
    in_channels: int,
    num_classes: int,
    channels: Sequence[int] = (24, 48, 96, 128),
    *,
    norm: str = "batch",
) -> nn.Module:
    """The default network: crops must be multiples of 2 to the power of len(channels)."""
    network = HalfResolutionUNet(in_channels, num_classes, channels)
    if norm == "group":
        _group_normalise(network)
    return network


def _group_normalise(network: nn.Module) -> None:
    """Put group normalisation in the place of batch normalisation.

    Here and not by MONAI's option, which wants one number of groups for all layers: the last one
    has as many channels as there are classes.
    """
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.BatchNorm2d):
                groups = math.gcd(GROUPS, layer.num_features)
                setattr(parent, name, nn.GroupNorm(groups, layer.num_features))


def build_model(config: Config, num_classes: int, channels: int = 3) -> nn.Module:
    """The network that the configuration names for so many classes and channels, tried once.

    It is left in evaluation mode, in which it is tried; `trial.fitting_loss` tries it in training.

    Raises:
        UserError: If the factory cannot be imported or called, or its network does not return
            logits (N, num_classes, h, w) of at most the resolution of the image.
    """
    if config.model == "unet":
        factory: Callable[..., Any] = partial(unet, norm=config.norm)
    elif config.norm == "batch":
        factory = _import_factory(config.model)
    else:
        raise UserError(f"norm: expected batch with --model {config.model}, got {config.norm}")
    try:
        model = factory(in_channels=channels, num_classes=num_classes, **config.model_args)
    except Exception as error:  # a user's factory may raise anything
        raise UserError(
            f"model: {config.model}(in_channels={channels}, num_classes={num_classes}"
            f"{''.join(f', {k}={v!r}' for k, v in config.model_args.items())}) failed: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(model, nn.Module):
        raise UserError(
            f"model: expected {config.model} to return a torch.nn.Module, "
            f"got {type(model).__name__}"
        )
    model.eval()  # so that the trial changes no statistics and draws no random numbers
    with torch.no_grad():
        try_network(model, config, num_classes, channels, training=False)
    # The images come in this format too, which is the faster one for convolutions.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def network_for(config: Config, data: DataSet) -> nn.Module:
    """The network that the configuration names, for the classes and channels of a data set.

    Raises:
        UserError: As `build_model`.
    """
    return build_model(config, len(data.classes), data.statistics.channels)


def _import_factory(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise UserError(f"model: expected unet or package.module:factory, got {name}")
    # A module beside the user's data or script: the console script does not look there itself.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything
        raise UserError(
            f"model: cannot import {module_name}: {type(error).__name__}: {error}"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        public = [n for n, v in vars(module).items() if inspect.isroutine(v) or inspect.isclass(v)]
        raise UserError(
            f"model: expected a function {attribute} in {module_name}, "
            f"found {', '.join(public[:8]) or 'none'}"
        )
    return factory  # type: ignore[no-any-return]


def try_network(
    model: nn.Module, config: Config, num_classes: int, channels: int, *, training: bool
) -> list[Tensor]:
    """The outputs of a blank image, or in training mode of as many as a batch has, up to two.

    Raises:
        UserError: If the network fails, or returns anything but logits of at most the resolution of
            the image. In evaluation mode the first output alone counts.
    """
    side = config.crop
    blank = torch.zeros(min(2, config.batch_size) if training else 1, channels, side, side)
    mode = " in training mode" if training else ""
    try:
        result = model(blank)
    except Exception as error:  # a user's network may raise anything
        raise UserError(
            f"model: {config.model} failed{mode} on an image of shape {tuple(blank.shape)}: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    try:
        found = outputs(result)
    except UserError as error:
        raise UserError(f"{error}{mode}") from error
    for logits in found if training else found[:1]:
        got = tuple(logits.shape)
        fits = got[:2] == (len(blank), num_classes)
        if not (fits and min(got[2:]) >= 1 and max(got[2:]) <= side):
            raise UserError(
                f"model: expected {config.model} to return logits of shape ({len(blank)},"
                f" {num_classes}, h, w), h and w from 1 to {side}, for an image of shape"
                f" {tuple(blank.shape)}{mode}, got {described(result)}"
            )
    return found
