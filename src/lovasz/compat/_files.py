"""Class weights in files, as mmsegmentation has them."""

from __future__ import annotations

import io
import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any


def read_class_weight(name: str, class_weight: Any) -> Any:
    """Class weights, read where they are the name of a file.

    Args:
        name: whose error messages they are.
        class_weight: name of a .npy, .json or .yaml file, which may be an address that mmengine
            reads (``s3://…``); anything else is returned as it is.

    Raises:
        ValueError: for files of another kind. Those of pickle are not read, because they can run
            any code.
        ImportError: for YAML without PyYAML, and for addresses without mmengine.
    """
    if not isinstance(class_weight, (str, os.PathLike)):
        return class_weight
    path = os.fspath(class_weight)
    suffix = Path(path).suffix.lower()
    if suffix not in (".npy", ".json", ".yaml", ".yml"):
        why = ", because a pickle can run any code" if suffix in (".pkl", ".pickle") else ""
        raise ValueError(
            f"{name}: expected class_weight to be numbers or a .npy, .json or .yaml file, got"
            f" {path!r}{why}; read the file and pass its numbers"
        )
    content = _read(name, path)
    if suffix == ".npy":
        import numpy as np  # noqa: PLC0415 (nothing else of the package needs it)

        return np.load(io.BytesIO(content), allow_pickle=False).tolist()
    if suffix == ".json":
        return json.loads(content)
    try:
        import yaml  # noqa: PLC0415 (likewise)
    except ImportError as error:
        raise ImportError(
            f"{name}: expected PyYAML (pip install pyyaml) to read class_weight={path!r}, got:"
            f" {error}"
        ) from error
    return yaml.safe_load(content)


def _read(name: str, path: str) -> bytes:
    if ":" not in path or Path(path).drive:
        return Path(path).read_bytes()
    try:
        fileio = import_module("mmengine.fileio")
    except ImportError as error:
        raise ImportError(
            f"{name}: expected mmengine (pip install mmengine) to read class_weight={path!r}, got:"
            f" {error}"
        ) from error
    content: bytes = fileio.get(path)
    return content
