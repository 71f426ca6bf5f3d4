"""The kernels, as the host launches them, compiled ahead of time for devices that are not here."""

import os

import pytest
import torch

from tools.launches import (
    SoftWorkload,
    Upsampled,
    Workload,
    compile_for,
    instructions_of,
    launches_of,
    machine_code_of,
    usage_of,
)

triton = pytest.importorskip("triton", reason="Triton is not installed")

# A few combinations that together have every layout, dtype, block and option. The sort knows
# nothing of cross-entropy, and is left out where little else differs.
WORKLOADS = {
    "images": Workload((2, 19, 512 * 1024)),
    "images, with cross-entropy": Workload(
        (2, 19, 512 * 1024), cross_entropy=True, labels=torch.uint8, sort=False
    ),
    "many classes": Workload((2, 150, 512 * 512), dtype=torch.bfloat16, labels=torch.uint8),
    "points": Workload(
        (1, 20, 123_457), adjacent_classes=True, dtype=torch.float16, cross_entropy=True
    ),
    "very many classes": Workload((1, 1001, 50_000), adjacent_classes=True, labels=torch.int32),
    "two classes by image": Workload((8, 2, 512 * 512), dtype=torch.bfloat16, per_image=True),
    "many bins": Workload((1, 4, 100_000), bins=2**14),
    # a size of 1 is a constant to the compiler
    "one pixel of one class": Workload((1, 1, 1), cross_entropy=True, weighted=False),
    "images of one pixel": Workload((5, 3, 1), labels=torch.uint8, per_image=True),
    "one class": Workload((8, 1, 512 * 512), cross_entropy=True),
    "more than 2^31 scores": Workload((3, 1024, 2**20), dtype=torch.float16),
    # whose counts need 64 bits
    "more than 2^31 pixels": Workload((1, 19, 2**31 + 5), dtype=torch.float16, sort=False),
    "weights of pixels": Workload((2, 19, 512 * 1024), cross_entropy=True, pixel_weights=True),
    "clouds": Workload((1, 20, 123_457), adjacent_classes=True, clouds=12, cross_entropy=True),
    "clouds of channels": Workload((1, 5, 100_000), link="sigmoid", clouds=300, sort=False),
    "weights and clouds, classes first": Workload(
        (1, 4, 50_000), dtype=torch.bfloat16, clouds=2, pixel_weights=True
    ),
    "binary": Workload((8, 1, 512 * 512), link="sigmoid", labels=torch.uint8),
    "binary, with cross-entropy": Workload(
        (8, 1, 512 * 512), link="sigmoid", cross_entropy=True, sort=False
    ),
    "labels of many channels": Workload(
        (4, 80, 256 * 256),
        adjacent_classes=True,
        dtype=torch.bfloat16,
        link="sigmoid",
        cross_entropy=True,
    ),
    "hinge by image": Workload((8, 1, 512 * 512), link="hinge", per_image=True),
    "elu of few bins": Workload((1, 3, 5_000), link="elu", dtype=torch.float16, bins=2),
    "probabilities of many bins": Workload((1, 3, 5_000), link="channel_probabilities", bins=2**14),
    "probabilities of classes": Workload(
        (2, 19, 512 * 1024), link="probabilities", labels=torch.uint8
    ),
    "probabilities of points": Workload(
        (1, 20, 123_457),
        adjacent_classes=True,
        dtype=torch.float16,
        link="probabilities",
        pixel_weights=True,
    ),
    "weights of pixels of channels": Workload(
        (2, 5, 100_000), link="sigmoid", cross_entropy=True, pixel_weights=True, labels=torch.int32
    ),
    "one pixel of one channel": Workload((1, 1, 1), link="sigmoid"),
    "more than 2^31 scores of channels": Workload((3, 1024, 2**20), link="sigmoid"),
    "more than 2^31 pixels of a channel": Workload(
        (1, 1, 2**31 + 5), link="sigmoid", bins=2**14, sort=False
    ),
}
SORTED = ["mark_runs", "start_runs", "extend_runs"]
EXTENSION = ["extend", "reduce"] * 2  # in float32 and in float64


def kernels_of(work, shared):
    """In the order of launching: histogram, backward; sort, extend, backward; extend and reduce."""
    if work.link != "softmax":
        first, histogram = "histogram_multilabel", ["histogram_multilabel"]
        keys, backward = "multilabel_keys", "backward_multilabel"
    else:
        unrolled = not work.adjacent_classes and work.shape[1] <= 64 and not work.clouds
        backward = "backward_unrolled" if unrolled else "backward_softmax"
        first, keys = "lse_and_positives", "softmax_keys"
        if work.pixel_weights or work.clouds:
            histogram = [first, "histogram_weighted"]
        else:
            histogram = ["histogram_shared"] if shared else [first, "histogram_registers"]
    summed = ["sum_clouds"] if work.clouds else []
    sort = [first, keys, *SORTED, *summed, backward] if work.sort else []
    return [f"{name}_kernel" for name in (*histogram, backward, *sort, *EXTENSION)]


# Bytes of shared memory that leave room for several programs on a processor.
LARGEST_SHARED = 32 * 1024
LARGEST_SPILL = 64
EVERY_TARGET = bool(os.environ.get("LOVASZ_EVERY_TARGET"))


def target_of(name):
    from triton.backends.compiler import GPUTarget

    if name.startswith("gfx"):
        return GPUTarget("hip", name, 64)
    return GPUTarget("cuda", int(name.removeprefix("sm_")), 32)


def devices_of(index, work):
    """NVIDIA's older and newer devices take turns; every kernel is compiled for both."""
    if not EVERY_TARGET:
        return ["sm_90"]
    others = ["sm_80", "sm_100"] if work.pixel_weights else [("sm_80", "sm_100")[index % 2]]
    return ["sm_90", *others, "gfx942"]


DEVICES = [
    pytest.param(work, name, id=f"{title}-{name}")
    for index, (title, work) in enumerate(WORKLOADS.items())
    for name in devices_of(index, work)
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("work", "name"), DEVICES)
def test_compiles(work, name, monkeypatch):
    shared = name.startswith("sm")
    launches = launches_of(work, monkeypatch, shared=shared)
    assert [launch.kernel.__name__ for launch in launches] == kernels_of(work, shared)
    for launch in launches:
        compiled = compile_for(launch, target_of(name))
        assert compiled.metadata.shared <= LARGEST_SHARED
        assert launch.grid[0] < 2**31


@pytest.mark.parametrize("work", WORKLOADS.values(), ids=WORKLOADS.keys())
def test_registers_and_memory_suffice(work, monkeypatch):
    for launch in launches_of(work, monkeypatch):
        compiled = compile_for(launch, target_of("sm_90"))
        usage = usage_of(compiled)
        assert usage.registers <= 255
        assert usage.spilled <= LARGEST_SPILL
        # A launch asks for no more than what every program can have.
        assert usage.shared + compiled.metadata.shared <= 48 * 1024


# Every mode, number of axes, dtype and layout, positions of 64 bits, and sizes of 1; cross-entropy
# alone, whose passes are compiled here too.
UPSAMPLED = {
    "images": Upsampled(19, (1, 128, 256), (1, 512, 1024), "linear", images=2),
    "channels last": Upsampled(
        150, (1, 65, 33), (1, 512, 257), "linear_align_corners",
        adjacent_classes=True, dtype=torch.bfloat16,
    ),
    "signals": Upsampled(3, (1, 1, 1000), (1, 1, 7777), "nearest", dtype=torch.float16),
    "volumes": Upsampled(4, (32, 24, 24), (64, 96, 96), "linear", images=2),
    "a size of 1": Upsampled(1, (1, 5, 1), (1, 20, 1), "linear_align_corners"),
    "positions of 64 bits": Upsampled(2, (1, 1, 2**20), (1, 1, 2**22), "linear", bins=0),
    "cross-entropy alone": Upsampled(
        19, (1, 64, 64), (1, 256, 256), "linear", dtype=torch.bfloat16, bins=0
    ),
    "cross-entropy of many classes": Upsampled(150, (1, 64, 64), (1, 256, 256), "nearest", bins=0),
}  # fmt: skip


UPSAMPLED_ON = [
    pytest.param(work, name, id=f"{title}-{name}")
    for title, work in UPSAMPLED.items()
    for name in ("sm_90", "sm_80", "sm_100", "gfx942")[: None if EVERY_TARGET else 1]
]


@pytest.mark.parametrize(("work", "target"), UPSAMPLED_ON)
def test_upsampling_compiles(work, target, monkeypatch):
    """The kernels of a low resolution, and those that count nothing."""
    shared = target.startswith("sm")
    launches = launches_of(work, monkeypatch, shared=shared)
    names = [launch.kernel.__name__.removesuffix("_kernel") for launch in launches]
    by_axes = work.size[:2] != (1, 1)
    shrunk = ["shrink_rows", "shrink_columns"] if by_axes else ["shrink"]
    assert all(names.count("enlarge") == 2 * names.count(name) > 0 for name in shrunk)
    assert names[-1] == "argmax"
    counting = "histogram_shared" if shared and work.bins > 0 else "lse_and_positives"
    assert names[:2] == ["enlarge", counting]
    new = ("enlarge", *shrunk, "argmax")
    for name, launch in zip(names, launches, strict=True):
        assert launch.grid[0] < 2**31
        if name not in new and work.bins > 0:
            continue
        compiled = compile_for(launch, target_of(target))
        assert compiled.metadata.shared <= LARGEST_SHARED
        if target == "sm_90":
            usage = usage_of(compiled)
            assert usage.spilled <= LARGEST_SPILL
            assert usage.shared + compiled.metadata.shared <= 48 * 1024


# Every kind of label, link, dtype and layout; weights, clouds; sums alone, and counts alone.
SOFT = {
    "images": SoftWorkload((2, 19, 512 * 1024), cross_entropy=True),
    "indices, sums alone": SoftWorkload(
        (2, 14, 96**3), torch.uint8, cross_entropy=True, bins=0
    ),
    "maps of points": SoftWorkload(
        (1, 20, 123_457), torch.int64, maps=2, adjacent_classes=True, dtype=torch.bfloat16,
        clouds=12, cross_entropy=True,
    ),
    "many classes": SoftWorkload(
        (2, 150, 512 * 512), torch.bfloat16, dtype=torch.bfloat16, pixel_weights=True,
        by_regions=False,
    ),
    "channels": SoftWorkload(
        (4, 3, 256 * 256), link="sigmoid", per_image=True, cross_entropy=True
    ),
    "zeros and ones": SoftWorkload(
        (4, 80, 9_999), torch.bool, link="sigmoid", dtype=torch.float16, adjacent_classes=True,
        pixel_weights=True, bins=0,
    ),
    "probabilities": SoftWorkload((2, 5, 9_999), torch.float16, link="probabilities"),
    "probabilities of channels": SoftWorkload(
        (1, 1, 100_000), torch.float64, link="channel_probabilities", bins=2**14
    ),
    "more than 2^31 scores": SoftWorkload((3, 1024, 2**20), torch.int32, maps=3),
}  # fmt: skip
SOFT_ON = [
    pytest.param(work, name, id=f"{title}-{name}")
    for title, work in SOFT.items()
    for name in ("sm_90", "sm_80", "sm_100", "gfx942")[: None if EVERY_TARGET else 1]
]


@pytest.mark.parametrize(("work", "target"), SOFT_ON)
def test_soft_labels_compile(work, target, monkeypatch):
    """The kernels of soft labels, and of sums over the pixels."""
    shared = target.startswith("sm")
    launches = launches_of(work, monkeypatch, shared=shared)
    first = ["lse_and_positives" if work.labels == torch.uint8 else "scan_soft"]
    given = work.link == "probabilities" and work.labels.is_floating_point
    first = first if work.link == "softmax" or given else []
    extend = ["extend"] if work.bins > 0 else []
    names = [launch.kernel.__name__.removesuffix("_kernel") for launch in launches]
    assert names == [*first, "histogram_soft", *extend, "backward_soft"]
    for name, launch in zip(names, launches, strict=True):
        assert launch.grid[0] < 2**31
        compiled = compile_for(launch, target_of(target))
        assert compiled.metadata.shared <= LARGEST_SHARED
        if target == "sm_90":
            usage = usage_of(compiled)
            assert usage.spilled <= LARGEST_SPILL
            assert usage.shared + compiled.metadata.shared <= 48 * 1024
        if name == "histogram_soft" and launch.kwargs["CELLS"] > 0:
            _assert_added_once(launch, compiled)


def _assert_added_once(launch, compiled):
    """An addition in PTX is made by every thread that has the element: it must be one."""
    threads, ptx = 32 * launch.kwargs["num_warps"], compiled.asm["ptx"]
    assert ptx.count("red.shared") * threads == launch.kwargs["BLOCK_T"]
    above = launch.kwargs["BLOCK_T"] * (launch.kwargs["WINDOW"] < launch.kwargs["BINS"])
    assert ptx.count("red.relaxed.gpu.global") * threads == above


TABLES = {
    name: work for name, work in WORKLOADS.items() if not work.pixel_weights and not work.clouds
} | {
    f"points of {classes} classes, {dtype}": Workload(
        (1, classes, 9_999), adjacent_classes=True, dtype=dtype
    )
    for classes, dtype in (
        (2, torch.float32), (4, torch.float16), (8, torch.bfloat16), (16, torch.float32),
        (20, torch.float32), (64, torch.bfloat16), (200, torch.float32),
    )
}  # fmt: skip


@pytest.mark.parametrize("work", TABLES.values(), ids=TABLES.keys())
def test_every_element_is_added_once(work, monkeypatch):
    """An addition in PTX is made by every thread that has the element: it must be one."""
    launch = launches_of(work, monkeypatch)[0]
    compiled = compile_for(launch, target_of("sm_90"))
    block = launch.kwargs["BLOCK_T"] * launch.kwargs.get("BLOCK_C", 1)
    strips = 1 + (launch.kwargs.get("PARTS", 1) > 1)  # the loop over further parts has its own
    threads = 32 * launch.kwargs["num_warps"]
    assert compiled.asm["ptx"].count("red.shared") * threads == block * strips
    outside = compiled.asm["ptx"].count("red.relaxed.gpu.global") * threads
    above = block * strips if launch.kwargs["WINDOW"] < launch.kwargs["BINS"] else 0
    # Where threads share pixels, positives are added by Triton.
    positives = launch.kwargs["BLOCK_T"] if launch.kwargs.get("OWNED") else 0
    assert outside == above + positives
    # Lanes that add to the same cell are counted at once.
    assert machine_code_of(compiled).count("ATOMS.POPC.INC") * threads == block * strips


def test_neighbours_are_loaded_at_once(monkeypatch):
    """Sixteen bytes a load where pixels are contiguous; what is gathered is loaded individually."""
    # own scores; own scores, and none; slopes and factors of positives once and of all twice; none,
    # and slopes beside four labels of a byte at once, and factors
    with_tables = {"histogram_shared": 4}
    in_registers = {"lse_and_positives": 4, "histogram_registers": 0}
    multilabel = {"histogram_multilabel": 0, "backward_multilabel": 9}
    for workload, gathered, shared in (
        ("images", with_tables, True),
        ("images", in_registers, False),
        ("many classes", {"histogram_shared": 0, "backward_softmax": 80}, True),
        ("binary", multilabel, True),
    ):
        launches = launches_of(WORKLOADS[workload], monkeypatch, shared=shared)
        for launch in launches[: len(gathered)]:
            ptx = compile_for(launch, target_of("sm_90")).asm["ptx"]
            assert "ld.global.v4.b32" in ptx
            name = launch.kernel.__name__.removesuffix("_kernel")
            assert ptx.count("ld.global.b32") == gathered[name]
            assert "backward" not in name or "st.global.v4.b32" in ptx


def test_instructions_take_about_as_long_as_memory(monkeypatch):
    """For each multiprocessor, an H100 issues 128 lanes a cycle and reads 12 bytes."""
    launches = launches_of(WORKLOADS["images"], monkeypatch)[:2]
    found = [
        instructions_of(launch, compile_for(launch, target_of("sm_90"))) for launch in launches
    ]
    histogram, backward = (sum(kinds.values()) for kinds in found)
    assert histogram < 1.1 * 4 / 12 * 128  # read once
    assert backward < 8 / 12 * 128  # read and written


def test_windows_hold_what_can_be_frequent(monkeypatch):
    from lovasz.core.bins import edges
    from lovasz.kernels.triton.blocks import ABOVE_WINDOW, window_of

    for classes in (1, 2, 19, 21, 150, 1001, 20_000):
        for bins in (2, 100, 1024, 2048):
            window = window_of(classes, bins)
            assert window & (window - 1) == 0
            above = edges(torch, bins)[min(window, bins)]
            # at most 1 / above classes of a pixel have a larger probability
            assert window >= bins or 1 / above <= classes / ABOVE_WINDOW + 1e-9
