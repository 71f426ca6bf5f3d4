"""A trained network as checkpoint.pt keeps it: all that is needed to use it without its data."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from lovasz.train import checkpoint
from lovasz.train.config import Config
from lovasz.train.data import IMAGENET, Statistics, load_data
from lovasz.train.data.images import Reading, header, read_image
from lovasz.train.errors import UserError, expect
from lovasz.train.fitted import read_decision
from lovasz.train.model import build_model

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lovasz import Decision
    from lovasz.train.data import DataSet


@dataclass(kw_only=True)
class UseConfig:
    """Which trained network is used, and how it computes.

    Args:
        run: Folder of a run, or its checkpoint.pt.
        window: Side in pixels of the square window that slides over larger images; 0 takes the
            side of the crops that the network was trained on.
        accelerator: Where to compute.
        precision: Number format of the network; bf16-mixed computes in bfloat16 under autocast,
            16-mixed in float16.
        threads: Threads of the processor; 0 takes all cores.
    """

    run: str
    window: int = 0
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: int = 0

    def __post_init__(self) -> None:
        """Check the ranges that the types do not say."""
        for name in ("window", "threads"):
            expect(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))


@dataclass(frozen=True)
class Saved:
    """A trained network, its classes, and how its images are read.

    Attributes:
        network: With its weights, on the processor, in evaluation mode.
        classes: Class names; label k is classes[k].
        colours: One RGB triple for each class.
        mask_values: Value of each class in the mask files that it was trained on.
        statistics: What images are normalised by, and so the number of their channels.
        window: Side in pixels of the crops it was trained on.
        reading: How image files become what it was trained on.
        options: Those of the data it was trained on, as in `DataConfig`.
        path: The checkpoint.
        digest: SHA-256 of the checkpoint.
        epochs: Complete epochs of training.
        decision: Offsets of the logits that the end of training has fitted to the mIoU of the
            validation part; None for one that is not finished, or of an earlier version.
    """

    network: nn.Module
    classes: list[str]
    colours: list[tuple[int, int, int]]
    mask_values: list[int]
    statistics: Statistics
    window: int
    reading: Reading
    options: dict[str, Any]
    path: Path
    digest: str
    epochs: int
    decision: Decision | None = None

    def read(self, path: Path) -> Tensor:
        """The image (channels, H, W) of a file, as those that the network was trained on.

        Raises:
            UserError: If it is no image, or has other channels.
        """
        wanted, has = self.reading.channels, header(path, self.reading).channels
        # As in training: grey beside colour is read as colour, other channels only when asked for.
        fits = has == wanted or (has, wanted) == (1, 3) or self.options["channels"]
        if not fits:
            raise UserError(
                f"{path}: expected an image with {wanted} channels, as those that the network was"
                f" trained on, got {has}"
            )
        return read_image(path, self.reading)


def describe(config: Config, data: DataSet) -> dict[str, Any]:
    """What `read_saved` needs beside the weights, in types that torch.load takes by itself."""
    return {
        "data": {
            "classes": list(data.classes),
            "colours": [list(colour) for colour in data.colours],
            "mask_values": list(data.mask_values),
            "mean": list(data.statistics.mean),
            "spread": list(data.statistics.spread),
            "window": config.crop,
            "reading": {**data.reading._asdict(), "channels": data.statistics.channels},
            "options": asdict(config.reading),
        },
        "network": {
            "model": config.model,
            "norm": config.norm,
            "model_args": dict(config.model_args),
        },
    }


def read_saved(run: str) -> Saved:
    """The trained network of a run: of its folder, or of a checkpoint.pt alone.

    Raises:
        UserError: If there is none, its network cannot be built again, or its decision is not one
            for its classes.
    """
    path = find_checkpoint(run)
    content = checkpoint.read(path)
    if "network" not in content or "data" not in content:
        content |= _from_config(path.with_name("config.yaml"))
    about, how = content["data"], content["network"]
    statistics = Statistics(tuple(about["mean"]), tuple(about["spread"]))
    config = Config(
        model=how["model"], norm=how["norm"], model_args=how["model_args"], crop=about["window"]
    )
    network = build_model(config, len(about["classes"]), statistics.channels)
    try:
        network.load_state_dict(content["model"])
    except RuntimeError as error:
        raise UserError(
            f"{path}: expected the weights of the network that {config.model} builds, got others:"
            f" {' '.join(str(error).split())[:200]}"
        ) from error
    return Saved(
        network=network.eval(),
        classes=about["classes"],
        colours=[(red, green, blue) for red, green, blue in about["colours"]],
        mask_values=about["mask_values"],
        statistics=statistics,
        window=about["window"],
        reading=Reading(**about["reading"]),
        options=about["options"],
        path=path,
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        epochs=content["progress"]["epoch"],
        decision=read_decision(content, len(about["classes"]), path),
    )


def find_checkpoint(run: str) -> Path:
    """The checkpoint that a word of the command line means.

    Raises:
        UserError: If there is none, or several.
    """
    path = Path(run).expanduser()
    if path.is_file():
        return path
    if (path / "checkpoint.pt").is_file():
        return path / "checkpoint.pt"
    if not path.is_dir():
        raise UserError(f"run: expected the folder of a run or its checkpoint.pt, found no {path}")
    below = sorted(found.parent for found in path.rglob("checkpoint.pt"))
    if below:
        raise UserError(
            f"run: expected the folder of one run, got {path}, which holds {len(below)};"
            f" name one of them, for example {below[0]}"
        )
    raise UserError(f"run: expected the folder of a run, found no checkpoint.pt in {path}")


def run_options(path: Path) -> dict[str, Any] | None:
    """The options in the config.yaml beside a checkpoint; None where there is none."""
    config = path.with_name("config.yaml")
    if not config.is_file():
        return None
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{config}: expected the options of a run, cannot read it") from error
    return content if isinstance(content, dict) else {}


def _from_config(path: Path) -> dict[str, Any]:
    """What checkpoints of earlier versions lack, from the options and the data of their run.

    Raises:
        UserError: If one of them is not there any more.
    """
    options = run_options(path)
    if options is None:
        raise UserError(
            f"{path}: expected it beside a checkpoint of an earlier version, which does not say"
            " what its network and classes are; found none"
        )
    names = {f.name for f in fields(Config)} & set(options)
    config = Config(**{name: options[name] for name in names})
    try:
        # They were normalised by the statistics of ImageNet, all of them.
        return describe(config, replace(load_data(config.reading), statistics=IMAGENET))
    except UserError as error:
        raise UserError(
            "run: a checkpoint of an earlier version needs the data that it was trained on to know"
            f" its classes: {error}"
        ) from error
