"""`lovasz export`: a trained network as one file that runs without this package."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from lovasz.train.errors import UserError
from lovasz.train.export_onnx import check_packages, run_onnx, write_onnx
from lovasz.train.export_torch import FromPixels, Sizes, export_program, run_pt2, write_pt2
from lovasz.train.fitted import DecisionConfig, offsets_of
from lovasz.train.saved import read_saved

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from torch import Tensor

    from lovasz.train.saved import Saved

_TOLERANCE = 1e-3  # of the largest number: sums in another order, not another network
# What the outputs are with the offsets of the fitted decision, which are added to the logits.
_DECIDED = {
    "logits": "The offsets of the fitted decision are added to the logits: their argmax is its"
    " label, and their softmax is not the probability of a class.",
    "probabilities": "The offsets of the fitted decision are added to the logits: the class of the"
    " largest output is its label, and the outputs are not the probabilities of the classes.",
    "labels": "The labels are those of the fitted decision.",
}


@dataclass(kw_only=True)
class ExportConfig(DecisionConfig):
    """Write the network of a run as one file that needs neither this package nor its factory.

    It takes images (N, channels, H, W) of 0 to 255; the normalisation is inside. The file is run
    and compared with the network before it is called done.

    Args:
        run: Folder of a run, or its checkpoint.pt.
        out: File to write, anew each time: a program of torch.export (.pt2), or ONNX (.onnx).
        output: What it returns, at the resolution of the image: logits (N, classes, H, W), their
            softmax, or the classes of the largest (N, H, W) as bytes. With `--decision fitted` the
            offsets are in the logits, and so in all of these.
        input: Number format of the images.
    """

    run: str
    out: str = "runs/network.pt2"
    output: Literal["logits", "probabilities", "labels"] = "logits"
    input: Literal["float32", "uint8"] = "float32"

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        if Path(self.out).suffix not in (".pt2", ".onnx"):
            raise UserError(f"out: expected a file that ends in .pt2 or .onnx, got {self.out}")


def export(config: ExportConfig, console: Console) -> int:
    """Export, run, compare; returns the exit status.

    Raises:
        UserError: If the network cannot be exported or has no decision that is asked for, the file
            cannot be written, or it computes something else than the network.
    """
    out = Path(config.out).expanduser()
    as_onnx = out.suffix == ".onnx"
    if as_onnx:
        check_packages()
    saved = read_saved(config.run)
    offsets = offsets_of(config, saved.decision, saved.path)
    module = FromPixels(saved.network, saved.statistics, config.output, offsets)
    dtype = torch.uint8 if config.input == "uint8" else torch.float32
    program, sizes = export_program(module, saved.statistics.channels, saved.window, dtype)
    about = _about(config, saved, sizes, offsets)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
            draft = Path(folder) / out.name
            (write_onnx if as_onnx else write_pt2)(program, draft, about)
            largest = _check(module, draft, run_onnx if as_onnx else run_pt2, sizes, dtype)
            for file in Path(folder).iterdir():  # weights of ONNX over 2 GB have their own
                os.replace(file, out.parent / file.name)
    except OSError as error:
        raise UserError(f"out: cannot write {out}: {error.strerror or error}") from error
    console.print(
        f"Written: {out}; {_shape_words(about, sizes)}. It was run, and differs from the network by"
        f" at most {largest:.0e}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if offsets is not None:
        console.print(_DECIDED[config.output], highlight=False, soft_wrap=True)
    return 0


def _about(
    config: ExportConfig, saved: Saved, sizes: Sizes, offsets: Tensor | None
) -> dict[str, Any]:
    """What the file says of itself, so that it can be used without the run."""
    return {
        "classes": saved.classes,
        "colours": saved.colours,
        "mask_values": saved.mask_values,
        "channels": saved.statistics.channels,
        "input": config.input,
        "output": config.output,
        "decision": config.decision,
        "offsets": None if offsets is None else offsets.tolist(),
        "window": saved.window,
        "multiple_of": sizes.step,
        "options": saved.options,
    }


def _shape_words(about: dict[str, Any], sizes: Sizes) -> str:
    if sizes.step is None:
        area = f"{sizes.window}, {sizes.window}), the only size that the network takes"
    elif sizes.step == 1:
        area = "H, W) of any size"
    else:
        area = f"H, W), H and W multiples of {sizes.step}"
    shape = f"images (N, {about['channels']}, {area}"
    return f"{shape}, {about['input']} from 0 to 255, to {about['output']}"


def _check(
    module: FromPixels,
    path: Path,
    run: Callable[[Path, Tensor], Tensor],
    sizes: Sizes,
    dtype: torch.dtype,
) -> float:
    """The largest difference between the file and the network, for several sizes and batches.

    Raises:
        UserError: If it is more than rounding.
    """
    random = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch, size in sizes.trials():
        shape = (batch, module.channels, *size)
        images = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8).to(dtype)
        with torch.no_grad():
            expected = module(images)
        got = run(path, images)
        if got.shape == expected.shape and got.dtype == expected.dtype:
            difference, allowed = _difference(got, expected)
            largest = max(largest, difference)
            if difference <= allowed:  # not where it is NaN
                continue
        raise UserError(
            f"export: expected {path.name} to compute what the network does for images"
            f" {tuple(images.shape)}, got {_words(got, expected)}; nothing was written"
        )
    return largest


def _difference(got: Tensor, expected: Tensor) -> tuple[float, float]:
    """How far the two are apart, and how far they may be; of labels, the share that differs."""
    if not expected.is_floating_point():
        return (got != expected).float().mean().item(), _TOLERANCE
    same = got.isnan() & expected.isnan()
    gap = (got - expected).masked_fill(same, 0).abs().max().item()
    return gap, _TOLERANCE * max(1.0, expected.nan_to_num().abs().max().item())


def _words(got: Tensor, expected: Tensor) -> str:
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return f"{tuple(got.shape)} {got.dtype} for {tuple(expected.shape)} {expected.dtype}"
    return f"numbers that differ by up to {_difference(got, expected)[0]:.3g}"
