"""Losses of other libraries, where they are installed: `make peers` has them in build/peers."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType

# What Keras computes with, unless somebody has chosen.
os.environ.setdefault("KERAS_BACKEND", "torch")


def part_of(package: str, part: str) -> ModuleType:
    """A subpackage, without what the package itself imports: networks, and all that those need.

    Raises:
        ImportError: if it is not installed.
    """
    if package not in sys.modules:
        found = importlib.util.find_spec(package)
        if found is None or found.submodule_search_locations is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        bare = ModuleType(package)
        bare.__path__ = list(found.submodule_search_locations)
        sys.modules[package] = bare
    return importlib.import_module(f"{package}.{part}")
