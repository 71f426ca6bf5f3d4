"""What the host launches, recorded on tensors without storage, and compiled without a device."""

from __future__ import annotations

import importlib
import math
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from lovasz.core.links import MULTICLASS, UNBOUNDED
from lovasz.core.options import DEFAULT_BINS
from lovasz.kernels import triton as gpu
from lovasz.kernels.fixed_point import SCALE

IGNORE = 255
TYPES = {
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.bool: "i1",
    **{getattr(torch, f"int{bits}"): f"i{bits}" for bits in (8, 16, 32, 64)},
    **{getattr(torch, f"uint{bits}"): f"u{bits}" for bits in (8, 16, 32, 64)},
}


class Launch(NamedTuple):
    """One launch: the kernel, its grid and its arguments."""

    kernel: Any
    grid: tuple[int, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Recorder:
    """Stands in for a kernel and notes its launches."""

    def __init__(self, kernel, launches):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid):
        def launch(*args, **kwargs):
            self.launches.append(Launch(self.kernel, grid, args, kwargs))

        return launch


class Workload(NamedTuple):
    """Shape, layout and options."""

    shape: tuple[int, int, int]
    adjacent_classes: bool = False
    dtype: torch.dtype = torch.float32
    labels: torch.dtype = torch.int64
    per_image: bool = False
    cross_entropy: bool = False
    weighted: bool = True
    pixel_weights: bool = False
    bins: int = DEFAULT_BINS
    link: str = "softmax"
    clouds: int = 0  # of points, in the only image
    sort: bool = True  # that method too; torch cannot launch it on very long tensors

    @property
    def scores(self) -> Tensor:
        """Without storage, as everything here."""
        images, classes, length = self.shape
        if self.adjacent_classes:
            return meta((images, length, classes), self.dtype).transpose(1, 2)
        return meta(self.shape, self.dtype)


class Upsampled(NamedTuple):
    """Scores of a lower resolution, layout and options; all that is new to the launches."""

    classes: int
    source: tuple[int, int, int]
    size: tuple[int, int, int]
    mode: str
    images: int = 1
    adjacent_classes: bool = False
    dtype: torch.dtype = torch.float32
    bins: int = DEFAULT_BINS

    @property
    def scores(self) -> Tensor:
        """Without storage."""
        if self.adjacent_classes:
            return meta((self.images, *self.source, self.classes), self.dtype).movedim(-1, 1)
        return meta((self.images, self.classes, *self.source), self.dtype)


class SoftWorkload(NamedTuple):
    """Soft labels, or labels of losses by sums: shape, layout and options."""

    shape: tuple[int, int, int]
    labels: torch.dtype = torch.float32
    maps: int = 0  # label maps that are mixed
    link: str = "softmax"
    adjacent_classes: bool = False
    dtype: torch.dtype = torch.float32
    bins: int = DEFAULT_BINS
    per_image: bool = False
    cross_entropy: bool = False
    pixel_weights: bool = False
    clouds: int = 0
    by_regions: bool = True

    @property
    def scores(self) -> Tensor:
        """Without storage."""
        return Workload(self.shape, self.adjacent_classes, self.dtype).scores

    @property
    def target(self) -> Tensor:
        """Floats for every class, an index or a zero or one of each pixel, or some label maps."""
        images, _, length = self.shape
        if self.maps > 0:
            return meta((images, self.maps, length), self.labels)
        of_pixels = self.link in MULTICLASS and not self.labels.is_floating_point
        return meta((images, length) if of_pixels else self.shape, self.labels)


def meta(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor without storage."""
    return torch.empty(shape, dtype=dtype, device="meta")


def kernels() -> list[tuple[Any, str]]:
    """Every kernel, by its module and name."""
    names = {
        "lse_and_positives": ("lse_and_positives",),
        "histogram_shared": ("histogram_shared",),
        "histogram_registers": ("histogram_registers",),
        "histogram_weighted": ("histogram_weighted",),
        "histogram_multilabel": ("histogram_multilabel",),
        "scan_soft": ("scan_soft",),
        "histogram_soft": ("histogram_soft",),
        "backward_soft": ("backward_soft",),
        "backward_unrolled": ("backward_unrolled",),
        "backward_softmax": ("backward_softmax",),
        "backward_multilabel": ("backward_multilabel",),
        "keys": ("softmax_keys", "multilabel_keys"),
        "sorting": ("mark_runs", "start_runs", "extend_runs", "sum_clouds"),
        "extension": ("extend",),
        "reduction": ("reduce",),
        "upsampling": ("enlarge", "argmax"),
        "shrinking": ("shrink", "shrink_rows", "shrink_columns"),
    }
    return [
        (importlib.import_module(f"lovasz.kernels.triton.{module}"), f"{name}_kernel")
        for module, found in names.items()
        for name in found
    ]


def launches_of(
    work: Workload | Upsampled | SoftWorkload, monkeypatch: pytest.MonkeyPatch, shared: bool = True
) -> list[Launch]:
    """Launches of every operator on a workload, on an H200's number of processors."""
    from lovasz.kernels.triton import blocks

    launches: list[Launch] = []
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "processors", lambda device: 132)
        patch.setattr(blocks, "has_ptx", lambda device: shared)
        for module, name in kernels():
            patch.setattr(module, name, Recorder(getattr(module, name), launches))
        if isinstance(work, Upsampled):
            _launch_upsampled(work)
        elif isinstance(work, SoftWorkload):
            _launch_soft(work)
        else:
            _launch_passes(work)
            _launch_extension(work)
    return launches


def _launch_passes(work: Workload) -> None:
    images, classes, length = work.shape
    labels = (images, length) if work.link in MULTICLASS else work.shape
    scores, target = work.scores, meta(labels, work.labels)
    weight = meta((classes,)) if work.cross_entropy and work.weighted else None
    scale = meta(()) if work.cross_entropy else None
    smoothing = 0.1 if work.cross_entropy and work.link == "softmax" else 0.0
    by_pixel = meta(labels) if work.pixel_weights else None
    ids = meta((1, length), torch.int64) if work.clouds else None
    counts, lse, *_ = gpu.histogram(
        scores, target, work.bins, IGNORE, work.per_image, work.link,
        work.cross_entropy, weight, smoothing, by_pixel, ids,
        max(work.clouds, 1),
    )  # fmt: skip
    slopes, factors = meta(counts.shape), meta(counts.shape[:2])
    options = (IGNORE, work.link, scale, weight, smoothing)
    gpu.backward(scores, target, lse, slopes, factors, *options, ids)
    if work.sort:
        common = (IGNORE, work.per_image, work.link, 1.0, 2.0)
        groups = (by_pixel, ids, max(work.clouds, 1))
        _, slopes, *_ = gpu.sort_and_extend(scores, target, *common, work.pixel_weights, *groups)
        tail = (None, None, 0.0, ids)
        gpu.backward(scores, target, lse, slopes, factors, IGNORE, work.link, *tail)


def _launch_upsampled(work: Upsampled) -> None:
    scores, length = work.scores, math.prod(work.size)
    target, upsampled = meta((work.images, length), torch.uint8), (work.mode, work.size)
    options = (work.bins, IGNORE, False, "softmax", True, None, 0.0, None, None, 1)
    counts, lse, *_ = gpu.histogram(scores, target, *options, *upsampled)
    slopes, factors = meta(counts.shape), meta(counts.shape[:2])
    tail = (factors, IGNORE, "softmax", meta(()), None, 0.0, None, None, *upsampled)
    gpu.backward(scores, target, lse, slopes, *tail)
    lines = meta((2, work.classes)) if work.bins == 0 else None
    gpu.argmax(scores, work.size, work.mode, work.classes < 256, lines, lines is not None)


def _launch_soft(work: SoftWorkload) -> None:
    (images, classes, length), scores, target = work.shape, work.scores, work.target
    mixture = meta((images, work.maps)) if work.maps > 0 else None
    weight = meta((classes,)) if work.cross_entropy else None
    smoothing = 0.1 if work.cross_entropy and work.link == "softmax" else 0.0
    by_pixel = None
    if work.pixel_weights:
        by_pixel = meta((images, length) if work.link in MULTICLASS else work.shape)
    ids = meta((1, length), torch.int64) if work.clouds else None
    soft = (mixture, 0.1 if work.link in MULTICLASS else 0.0)
    counts, lse, _, _, sums = gpu.histogram(
        scores, target, work.bins, IGNORE, work.per_image, work.link,
        work.cross_entropy, weight, smoothing, by_pixel, ids, max(work.clouds, 1), None, None,
        *soft, True,
    )  # fmt: skip
    if work.bins > 0:
        scale = SCALE if work.pixel_weights else 1
        gpu.extend(counts, 1.0, 2.0, False, scale, False, sums[..., 1])
    slopes, factors = meta(counts.shape), meta(counts.shape[:2])
    scale = meta(()) if work.cross_entropy else None
    gpu.backward(
        scores, target, lse, slopes, factors, IGNORE, work.link, scale, weight, smoothing,
        ids, by_pixel, None, None, *soft, sums if work.by_regions else None,
    )  # fmt: skip


def _launch_extension(work: Workload) -> None:
    groups = work.shape[0] if work.per_image else 1
    counts = meta((groups, work.shape[1], 2, work.bins), torch.int64)
    scale = SCALE if work.pixel_weights else 1
    for wide in (False, True):
        gpu.extend(counts, 1.0, 2.0, wide, scale, work.link in UNBOUNDED)
        losses, active = meta(counts.shape[:2], torch.float64), meta(counts.shape[:2], torch.bool)
        weight = meta((work.shape[1],), torch.float64 if wide else torch.float32)
        inputs = (losses, active, meta((groups,), torch.int64), weight)
        sums = meta((2,), torch.float64) if work.cross_entropy else None
        gpu.reduce(*inputs, True, True, work.per_image, wide, sums)


def source_of(launch: Launch) -> Any:
    """The launch as the compiler wants it, specialised as Triton does at run time."""
    from triton.compiler import ASTSource

    names = launch.kernel.arg_names
    values = dict(zip(names, launch.args, strict=False)) | launch.kwargs
    signature, constants, attributes = {}, {}, {}
    for index, (name, parameter) in enumerate(zip(names, launch.kernel.params, strict=True)):
        value = values[name]
        aligned = isinstance(value, torch.Tensor) and value.data_ptr() % 16 == 0
        if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
            signature[name], constants[(index,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = "*" + TYPES[value.dtype]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            aligned = value % 16 == 0
        if aligned:
            attributes[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(launch.kernel, signature, constants, attributes)


def compile_for(launch: Launch, target: Any) -> Any:
    """The compiled kernel."""
    import triton

    names = ("num_warps", "enable_fp_fusion")
    options = {name: launch.kwargs[name] for name in names if name in launch.kwargs}
    return triton.compile(source_of(launch), target=target, options=options)


class Usage(NamedTuple):
    """What a program of a kernel for CUDA takes."""

    registers: int
    spilled: int  # bytes of registers
    shared: int  # bytes of static shared memory


def usage_of(compiled: Any) -> Usage:
    """Registers and memory of a kernel for CUDA."""
    text = _inspect(compiled, "cuobjdump", "-res-usage")
    usage = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)", text)
    assert usage is not None, text
    return Usage(*(int(number) for number in usage.groups()))


def machine_code_of(compiled: Any) -> str:
    """Instructions of a kernel for CUDA."""
    return _inspect(compiled, "nvdisasm", "-c")


def instructions_of(launch: Launch, compiled: Any) -> Counter[str]:
    """Instructions by kind that a lane executes for a score, of a kernel for CUDA.

    Those of the innermost loops over scores, or of the whole kernel if it has no loop. Those that
    branches skip are counted as if they were executed.
    """
    code, loops = _loops_of(machine_code_of(compiled))
    inner = [
        (first, last)
        for first, last in loops
        if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in loops)
    ]
    # The short ones clear and read the table.
    ranges = [(first, last) for first, last in inner if last - first > 64] or [(0, len(code) - 1)]
    kinds = Counter(kind for first, last in ranges for kind in code[first : last + 1])
    block = launch.kwargs["BLOCK_T"]
    if launch.kernel.__name__ == "histogram_registers_kernel":
        block *= 4
    else:
        unrolled = launch.kwargs.get("CLASSES") or launch.kwargs.get("UNROLLED")
        block *= unrolled or launch.kwargs.get("BLOCK_C", 1)
    scores = block / (32 * launch.kwargs["num_warps"])
    return Counter({kind: number / scores for kind, number in kinds.items() if kind != "NOP"})


def _loops_of(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Kinds of the instructions, and the first and the last one of every loop."""
    code: list[str] = []
    labels, jumps = {}, []
    for line in text.splitlines():
        if label := re.match(r"\.(L_x_\d+):", line):
            labels[label[1]] = len(code)
        elif found := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?\s*([\w]+)(.*)", line):
            if found[1] == "BRA" and (label := re.search(r"\(\.(L_x_\d+)\)", found[2])):
                jumps.append((label[1], len(code)))
            code.append(found[1])
    return code, [(labels[to], at) for to, at in jumps if labels[to] < at]


def _inspect(compiled: Any, tool: str, option: str) -> str:
    """What one of the tools that come with Triton says of a kernel."""
    import triton

    path = Path(triton.__path__[0]) / "backends" / "nvidia" / "bin" / tool
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [path, option, file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
