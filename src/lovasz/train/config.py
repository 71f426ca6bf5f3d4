"""The options of `lovasz train` and `lovasz compare`, and the file that keeps them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from lovasz import LossSchedule
from lovasz.train.data.config import DataConfig
from lovasz.train.errors import UserError, expect
from lovasz.train.writing import write_text

# The schemes of `lovasz.class_weights`.
Scheme = Literal["inverse", "sqrt", "median", "effective", "enet"]
LossName = Literal["cross-entropy", "lovasz-softmax", "both", "windowed", "both-windowed"]

# Options that say where or how fast a run goes, not what it computes: they may change on resume.
_FREE_ON_RESUME = {
    "out",
    "resume",
    "threads",
    "workers",
    "jobs",
    "accelerator",
    "checkpoint_minutes",
}


@dataclass(kw_only=True)
class Config(DataConfig):
    """Options that every run shares.

    Args:
        model: `unet`, a small U-Net of MONAI, or `package.module:factory`, which is called as
            factory(in_channels=..., num_classes=...) and returns a torch.nn.Module.
            Its logits may have a lower resolution than the image.
        norm: Normalisation in `unet`: over the batch, or over groups of channels of one image,
            which small batches need.
        model_args: Further keyword arguments for the model, for example '{"channels": [32, 64]}'.
        output_weights: Weights of the outputs of a network that has several in training, the main
            one first; null for those of lovasz.DeepSupervision: 1 for the largest resolution, a
            half for the next one and so on, divided by their sum.
        crop: Side in pixels of the square training crops and of the window that slides over
            larger images in evaluation; 0 takes 64 for `scenes` and 96 for the rest.
        batch_size: Images in a training step.
        epochs: Passes over the training part.
        optimizer: AdamW, or SGD with Nesterov momentum 0.9.
        weight_decay: Weight decay of the optimiser.
        schedule: How the learning rate falls after the warm-up: (1 - t)^0.9, half a cosine,
            or not at all.
        warmup: Fraction of the training steps in which the learning rate rises linearly.
        lovasz_args: Keyword arguments for lovasz.LovaszSoftmaxLoss, for example
            '{"per_image": true}'; in a sum of two losses without method and reduction.
        class_weights: Weigh the classes by their pixels in the training part: the scheme of
            lovasz.class_weights, or null for no weights.
        class_weights_args: Keyword arguments for lovasz.class_weights, for example
            '{"beta": 0.999}'.
        weighted: Which loss has the class weights. Lovász-Softmax counts every class the same
            without them.
        loss_schedule: Factors of the two losses of a sum over the epochs: a list of points, for
            example '[{epoch: 0, cross_entropy: 1, lovasz: 0}, {epoch: 10, cross_entropy: 1,
            lovasz: 1}]', with straight lines in between; null for 1 and 1.
        sampler: How images are drawn: each one once in an epoch, or so that every class comes in
            turn, in as many steps.
        momentum: What `windowed` and `both-windowed` keep of the counts of earlier batches at each
            step.
        accelerator: Where to compute.
        precision: Number format of the network; bf16-mixed computes in bfloat16 under autocast,
            16-mixed in float16 with gradients that are scaled to its range.
        threads: Threads of the processor for one run; 0 shares all cores among the runs.
        workers: Processes that load the data of one run; 0 loads between the steps.
        checkpoint_minutes: Time after which a checkpoint is written within an epoch, beside those
            after each epoch; 0 writes none within.
        out: Folder for everything that the run writes.
        resume: Continue the run in `out` where it stopped.
    """

    model: str = "unet"
    norm: Literal["batch", "group"] = "batch"
    model_args: dict[str, Any] = field(default_factory=dict)
    output_weights: list[float] | None = None
    crop: int = 0
    batch_size: int = 8
    epochs: int = 40
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.01
    schedule: Literal["poly", "cosine", "constant"] = "poly"
    warmup: float = 0.05
    lovasz_args: dict[str, Any] = field(default_factory=dict)
    class_weights: Scheme | None = None
    class_weights_args: dict[str, Any] = field(default_factory=dict)
    weighted: Literal["cross-entropy", "lovasz-softmax", "both"] = "cross-entropy"
    loss_schedule: list[dict[str, float]] | None = None
    sampler: Literal["shuffle", "equibatch"] = "shuffle"
    momentum: float = 0.9
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: int = 0
    workers: int = 0
    checkpoint_minutes: float = 10.0
    out: str = "runs/lovasz"
    resume: bool = False

    def __post_init__(self) -> None:
        """Check the ranges that the types do not say."""
        super().__post_init__()
        for name in ("batch_size", "epochs"):
            expect(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))
        for name in ("crop", "threads", "workers", "weight_decay", "checkpoint_minutes"):
            expect(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        expect(0 <= self.warmup < 1, "warmup", "a fraction from 0 up to 1", self.warmup)
        as_schedule(self.loss_schedule)
        expect(0 <= self.momentum < 1, "momentum", "a fraction from 0 up to 1", self.momentum)
        if (weights := self.output_weights) is not None:
            good = any(weights) and all(0 <= weight < math.inf for weight in weights)
            expect(good, "output_weights", "finite numbers, none negative, one above 0", weights)
        self.crop = self.crop or (64 if self.data == "scenes" else 96)


@dataclass(kw_only=True)
class TrainConfig(Config):
    """Train a segmentation network with one loss and evaluate it.

    Args:
        loss: `both` is the sum of cross-entropy and Lovász-Softmax; `windowed` is
            Lovász-Softmax that remembers earlier batches, `both-windowed` the sum with it.
        lr: Learning rate after the warm-up.
        seed: Fixes the initial weights, the order of the data and the augmentation.
    """

    loss: LossName = "both"
    lr: float = 0.003
    seed: int = 0
    out: str = "runs/train"

    def __post_init__(self) -> None:
        """Check the ranges that the types do not say."""
        super().__post_init__()
        expect(self.lr > 0, "lr", "more than 0", self.lr)
        expect(self.seed >= 0, "seed", "0 or more", self.seed)


@dataclass(kw_only=True)
class CompareConfig(Config):
    """Train the same network with several losses and seeds and report the difference.

    For each loss the learning rate is the one of `learning_rates` with the highest mIoU on the
    validation part (with the first seed); the numbers come from the test part.

    Args:
        losses: Losses to compare; the differences are taken to the first.
        learning_rates: The grid, the same for every loss.
        seeds: One run for each loss and seed.
        jobs: Runs at the same time, each in its own process; 0 means one for each core, or one
            on an accelerator.
    """

    losses: list[LossName] = field(
        default_factory=lambda: ["cross-entropy", "lovasz-softmax", "both"]
    )
    learning_rates: list[float] = field(default_factory=lambda: [0.001, 0.003, 0.01])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    jobs: int = 0
    out: str = "runs/compare"

    def __post_init__(self) -> None:
        """Check the ranges that the types do not say."""
        super().__post_init__()
        for name in ("losses", "learning_rates", "seeds"):
            values = getattr(self, name)
            distinct = bool(values) and len(set(values)) == len(values)
            expect(distinct, name, "one or more different values", values)
        expect(min(self.learning_rates) > 0, "learning_rates", "more than 0", self.learning_rates)
        expect(min(self.seeds) >= 0, "seeds", "0 or more", self.seeds)
        expect(self.jobs >= 0, "jobs", "0 or more", self.jobs)

    def run(self, loss: LossName, lr: float, seed: int) -> TrainConfig:
        """The configuration of one of the compared runs, in its own folder below `out`."""
        shared = {f.name: getattr(self, f.name) for f in fields(Config)}
        shared["out"] = str(Path(self.out) / "runs" / f"{loss}-lr{lr:g}-seed{seed}")
        return TrainConfig(**shared, loss=loss, lr=lr, seed=seed)


AnyConfig = TypeVar("AnyConfig", TrainConfig, CompareConfig)


def as_schedule(points: list[dict[str, float]] | None) -> LossSchedule | None:
    """The schedule that the option describes.

    Raises:
        UserError: If the points lack something or make no sense.
    """
    if points is None:
        return None
    names = ("epoch", "cross_entropy", "lovasz")
    for point in points:
        expect(set(point) == set(names), "loss_schedule", f"points with {', '.join(names)}", point)
    try:
        return LossSchedule(
            [(point[names[0]], point[names[1]], point[names[2]]) for point in points]
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"loss_schedule: {error}") from error


def options(config: Config) -> dict[str, Any]:
    """The options as the file keeps them: all but `resume`, which says nothing about the run."""
    kept = asdict(config)
    del kept["resume"]
    return kept


def check_folder(config: Config) -> None:
    """Refuse `out` if it holds another run, or none to resume.

    Raises:
        UserError: Then.
    """
    out = Path(config.out)
    path = out / "config.yaml"
    if config.resume:
        _check_same(config, path)
    elif path.exists():
        raise UserError(
            f"out: {out} already holds a run; continue it with --resume or name another folder"
        )


def claim_folder(config: Config) -> Path:
    """Make `out` ready for a run: write its config.yaml, or check it when the run is resumed.

    Raises:
        UserError: If `out` holds another run, or none to resume.
    """
    check_folder(config)
    out = Path(config.out)
    path = out / "config.yaml"
    if not config.resume:
        try:
            out.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(options(config), sort_keys=False, allow_unicode=True)
            write_text(path, text)
        except OSError as error:
            raise UserError(f"out: cannot write to {out}: {error.strerror}") from error
    return out


def _check_same(config: Config, path: Path) -> None:
    if not path.exists():
        raise UserError(f"resume: expected a run in {path.parent}, found no {path.name} there")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"resume: expected the options of a run in {path}, cannot read them")
    # Options that the run's version did not have are at what they are now by default.
    before = options(type(config)()) | content
    for name, value in options(config).items():
        if name not in _FREE_ON_RESUME and before[name] != value:
            raise UserError(
                f"resume: expected {name} {before[name]} as in {path}, got {value}; "
                f"pass --config {path} to continue that run"
            )
