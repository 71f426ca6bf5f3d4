"""Which kernels have passed their test on which device, kept from process to process.

Each result is a file of its own, so that several processes do not disturb each other; what cannot
be written or read is as if it were not there. Failures are not kept.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import os
import re
import tempfile
from pathlib import Path

import torch


def folder() -> Path | None:
    """``LOVASZ_CACHE``, or the folder ``lovasz`` among the user's caches, if there is one."""
    if chosen := os.environ.get("LOVASZ_CACHE"):
        return Path(chosen)
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches) / "lovasz"
    try:
        return Path.home() / ".cache" / "lovasz"
    except RuntimeError:  # no home
        return None


@functools.cache
def identity(device: torch.device) -> str | None:
    """Device, driver and versions, on which what kernels compute depends; None of no device."""
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    capability = f"sm_{properties.major}{properties.minor}"
    if torch.version.hip is not None:
        capability = properties.gcnArchName
    triton = importlib.import_module("triton").__version__
    versions = f"driver {driver()}, torch {torch.__version__}, Triton {triton}"
    return f"{properties.name} ({capability}), {versions}"


def driver(file: str = "/proc/driver/nvidia/version") -> str:
    """Version of the driver, as far as it can be told."""
    if torch.version.hip is not None:
        return f"ROCm {torch.version.hip}"
    found = []
    with contextlib.suppress(OSError):
        version = re.search(r"\b\d+\.\d+(\.\d+)?\b", Path(file).read_text())
        found += [version[0]] if version is not None else []
    ask = getattr(torch._C, "_cuda_getDriverVersion", None)  # of torch for CUDA alone
    if ask is not None:
        found.append(f"for CUDA {ask() // 1000}.{ask() % 1000 // 10}")
    return " ".join(found) or "unknown"


def passed(who: str, case: str) -> bool:
    """Whether a case is known to have passed."""
    try:
        wanted = _content(who, case)
        return bool(json.loads(_file(wanted).read_text()) == wanted)
    except (OSError, ValueError):
        return False


def keep(who: str, case: str) -> None:
    """Remember that a case has passed."""
    with contextlib.suppress(OSError):
        content = _content(who, case)
        path = _file(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
        Path(name).replace(path)


def _content(who: str, case: str) -> dict[str, str]:
    return {"device": who, "case": case, "sources": _sources()}


def _file(content: dict[str, str]) -> Path:
    """Where it is kept; `OSError` if nowhere."""
    caches = folder()
    if caches is None:
        raise FileNotFoundError
    name = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
    return caches / "kernels" / f"{name}.json"


@functools.cache
def _sources() -> str:
    """Of the kernels and of what they are compared with: what is changed is tested anew."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]
