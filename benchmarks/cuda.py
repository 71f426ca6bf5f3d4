"""How time, launches and memory are measured on a CUDA or ROCm device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

Work = Callable[[], Any]


def clock(work: Work) -> float:
    """Milliseconds of one run, by the clock of the device."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def recorded(work: Work) -> Work | None:
    """The same work as a graph, in which the host takes no time; None if it can be no graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # compiles and allocates
            work()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            kept = work()  # noqa: F841 (its memory is the graph's)
    except RuntimeError as error:
        print(f"no graph: {str(error).splitlines()[0]}", flush=True)
        torch.cuda.synchronize()
        return None
    return graph.replay


def launches(work: Work) -> int:
    """Kernels, copies and fills that the host starts."""
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        work()
        torch.cuda.synchronize()
    return sum(event.device_type != torch.autograd.DeviceType.CPU for event in found.events())


def peak(work: Work) -> int:
    """Bytes that are allocated beyond those before, at most."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = work()  # noqa: F841
    return torch.cuda.max_memory_allocated() - before


def copy_bandwidth(bytes_moved: int = 2**31) -> float:
    """Bytes per second of a copy on the device, read and written."""
    source = torch.empty(bytes_moved // 8, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    times = [clock(lambda: target.copy_(source)) for _ in range(20)]
    return bytes_moved / (statistics.median(times[5:]) / 1e3)


def about(bandwidth: float) -> dict[str, object]:
    """What the numbers depend on."""
    import triton  # noqa: PLC0415

    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "processors": properties.multi_processor_count,
        "copy_gb_per_s": bandwidth / 1e9,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
