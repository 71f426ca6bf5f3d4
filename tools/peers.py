"""Losses of other libraries, where they are installed: `make peers` has them in build/peers."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType

# What Keras computes with, unless somebody has chosen.
os.environ.setdefault("KERAS_BACKEND", "torch")


def part_of(package: str, part: str, *, alone: bool = False) -> ModuleType:
    """A subpackage, without what the package itself imports: networks, and all that those need.

    Args:
        package: its name.
        part: a module or package inside.
        alone: whether to leave out what the packages between the two import, too.

    Raises:
        ImportError: if it is not installed.
    """
    name, packages = f"{package}.{part}", [package]
    if alone:
        parts = part.split(".")[:-1]
        packages += [".".join([package, *parts[: end + 1]]) for end in range(len(parts))]
    for one in packages:
        if one not in sys.modules:
            found = importlib.util.find_spec(one)
            if found is None or found.submodule_search_locations is None:
                raise ModuleNotFoundError(f"No module named {one!r}", name=one)
            bare = ModuleType(one)
            bare.__path__ = list(found.submodule_search_locations)
            sys.modules[one] = bare
    return importlib.import_module(name)
