"""The kernels, as the host launches them, compiled ahead of time for devices that are not here."""

import pytest
import torch

from tools.launches import (
    Workload,
    compile_for,
    instructions_of,
    launches_of,
    machine_code_of,
    usage_of,
)

triton = pytest.importorskip("triton", reason="Triton is not installed")

# A few combinations that together have every layout, dtype, block and option. The exact method
# knows nothing of what rides along and is left out where little else differs.
WORKLOADS = {
    "images": Workload((2, 19, 512 * 1024)),
    "images, with cross-entropy": Workload(
        (2, 19, 512 * 1024), entropy=True, labels=torch.uint8, exact=False
    ),
    "many classes": Workload((2, 150, 512 * 512), dtype=torch.bfloat16, labels=torch.uint8),
    "points": Workload((1, 20, 123_457), points_first=True, dtype=torch.float16, entropy=True),
    "very many classes": Workload((1, 1001, 50_000), points_first=True, labels=torch.int32),
    "two classes by image": Workload((8, 2, 512 * 512), dtype=torch.bfloat16, per_image=True),
    "many bins": Workload((1, 4, 100_000), bins=2**14),
    # a size of 1 is a constant to the compiler
    "one pixel of one class": Workload((1, 1, 1), entropy=True, weighted=False),
    "images of one pixel": Workload((5, 3, 1), labels=torch.uint8, per_image=True),
    "one class": Workload((8, 1, 512 * 512), entropy=True),
    "more than 2^31 scores": Workload((3, 1024, 2**20), dtype=torch.float16),
    # whose counts need 64 bits
    "more than 2^31 pixels": Workload((1, 19, 2**31 + 5), dtype=torch.float16, exact=False),
    "weights of pixels": Workload(
        (2, 19, 512 * 1024), entropy=True, pixel_weights=True, exact=False
    ),
    "binary": Workload((8, 1, 512 * 512), link="sigmoid", labels=torch.uint8),
    "binary, with cross-entropy": Workload(
        (8, 1, 512 * 512), link="sigmoid", entropy=True, exact=False
    ),
    "labels of many channels": Workload(
        (4, 80, 256 * 256), points_first=True, dtype=torch.bfloat16, link="sigmoid", entropy=True
    ),
    "hinge by image": Workload((8, 1, 512 * 512), link="hinge", per_image=True),
    "elu of few bins": Workload((1, 3, 5_000), link="elu", dtype=torch.float16, bins=2),
    "probabilities of many bins": Workload((1, 3, 5_000), link="channel_probabilities", bins=2**14),
    "weights of pixels of channels": Workload(
        (2, 5, 100_000), link="sigmoid", entropy=True, pixel_weights=True, labels=torch.int32
    ),
    "one pixel of one channel": Workload((1, 1, 1), link="sigmoid"),
    "more than 2^31 scores of channels": Workload((3, 1024, 2**20), link="sigmoid"),
    "more than 2^31 pixels of a channel": Workload(
        (1, 1, 2**31 + 5), link="sigmoid", bins=2**14, exact=False
    ),
}
SORTING = ["marks", "runs", "extend"]
WEIGHING = ["weigh", "reduce"] * 2  # in float32 and in float64


def kernels_of(work, shared):
    """In the order of launching: count, push, exact, push_ranked, weigh and reduce twice."""
    if work.link != "softmax":
        count, push = ["count"], "push"
    else:
        push = "push" if work.points_first or work.shape[1] > 64 else "push_columns"
        if work.pixel_weights:
            count = ["survey", "masses"]
        else:
            count = ["tally"] if shared else ["survey", "negatives"]
    first = "survey" if work.link == "softmax" else "count"
    exact = [first, "keys", *SORTING, push] if work.exact else []
    return [*count, push, *exact, *WEIGHING]


# Bytes of shared memory that leave room for several programs on a processor.
LARGEST_SHARED = 32 * 1024
LARGEST_SPILL = 64


def target_of(name):
    from triton.backends.compiler import GPUTarget

    if name.startswith("gfx"):
        return GPUTarget("hip", name, 64)
    return GPUTarget("cuda", int(name.removeprefix("sm_")), 32)


def devices_of(index, work):
    """NVIDIA's older and newer devices take turns; every kernel is compiled for both."""
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


TABLES = {name: work for name, work in WORKLOADS.items() if not work.pixel_weights} | {
    f"points of {classes} classes, {dtype}": Workload(
        (1, classes, 9_999), points_first=True, dtype=dtype
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
    strips = 1 + (launch.kwargs.get("GROUPS", 1) > 1)  # the loop over further groups has its own
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
    """Sixteen bytes a load where pixels are contiguous; what is gathered is loaded one by one."""
    # own scores; own scores, and none; slopes and factors of positives once and of all twice; none,
    # and slopes beside four labels of a byte at once, and factors
    with_tables = {"tally": 4}
    in_registers = {"survey": 4, "negatives": 0}
    channels = {"count": 0, "push": 9}
    for name, gathered, shared in (
        ("images", with_tables, True),
        ("images", in_registers, False),
        ("many classes", {"tally": 0, "push": 80}, True),
        ("binary", channels, True),
    ):
        launches = launches_of(WORKLOADS[name], monkeypatch, shared=shared)
        for launch in launches[: len(gathered)]:
            ptx = compile_for(launch, target_of("sm_90")).asm["ptx"]
            assert "ld.global.v4.b32" in ptx
            assert ptx.count("ld.global.b32") == gathered[launch.kernel.__name__]
            assert "push" not in launch.kernel.__name__ or "st.global.v4.b32" in ptx


def test_instructions_take_no_longer_than_memory(monkeypatch):
    """For each multiprocessor, an H100 issues 128 lanes a cycle and reads 12 bytes."""
    launches = launches_of(WORKLOADS["images"], monkeypatch)[:2]
    found = [
        instructions_of(launch, compile_for(launch, target_of("sm_90"))) for launch in launches
    ]
    tally, push = (sum(kinds.values()) for kinds in found)
    assert tally < 4 / 12 * 128  # read once
    assert push < 8 / 12 * 128  # read and written


def test_windows_hold_what_can_be_frequent(monkeypatch):
    from lovasz.core.bins import bin_edges
    from lovasz.kernels.triton.blocks import window_of

    for classes in (1, 2, 19, 21, 150, 1001, 20_000):
        for bins in (2, 100, 1024, 2048):
            window = window_of(classes, bins)
            assert window & (window - 1) == 0
            above = bin_edges(bins)[min(window, bins)]
            # at most 1 / above classes of a pixel have a larger probability
            assert window >= bins or 1 / above <= classes / 4 + 1e-9
