"""A program of torch.export as ONNX."""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor
    from torch.export import ExportedProgram

_LARGEST = 1_900_000_000  # bytes of weights in the file itself: protobuf ends at 2 GB


def check_packages() -> None:
    """Whether the packages of the extra are there, before anything takes time.

    Raises:
        UserError: If one is missing.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"export: ONNX needs {' and '.join(missing)}: run pip install '.[onnx]' in a checkout"
            " of lovasz; a file that ends in .pt2 needs neither"
        )


def write_onnx(program: ExportedProgram, path: Path, about: dict[str, Any]) -> None:
    """Write a program with what it says of itself.

    Raises:
        UserError: If it has something that ONNX has not.
    """
    weights = [*program.parameters(), *program.buffers()]
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    try:
        with _quietly():
            onnx_program = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["images"],
                output_names=[about["output"]],
                dynamic_shapes=(_names(about["multiple_of"]),),
                verbose=False,
            )
            assert onnx_program is not None
            for name, value in about.items():
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                onnx_program.model.metadata_props[name] = text
            onnx_program.save(path, external_data=size > _LARGEST)
    except OSError:
        raise
    except Exception as error:  # torch.onnx raises many kinds
        lines = str(error).strip().splitlines()
        raise UserError(
            f"export: ONNX cannot hold this network: {type(error).__name__}:"
            f" {lines[0] if lines else ''}; a file that ends in .pt2 can"
        ) from error


def _names(step: int | None) -> dict[int, str]:
    return {0: "batch"} if step is None else {0: "batch", 2: "height", 3: "width"}


def run_onnx(path: Path, images: Tensor) -> Tensor:
    """What a file makes of images: by ONNX Runtime where it is installed, else by onnx itself."""
    fed = {"images": images.numpy()}
    if find_spec("onnxruntime"):
        runtime: Any = import_module("onnxruntime")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, fed)[0])
    reference: Any = import_module("onnx.reference")
    return torch.from_numpy(reference.ReferenceEvaluator(str(path)).run(None, fed)[0])


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the remarks of torch.onnx on packages that this network does not need."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
