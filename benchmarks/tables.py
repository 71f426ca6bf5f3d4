"""The tables of the docs between their markers, and the plot, from benchmarks/results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import (
    clouds,
    decisions,
    gpu_chunks,
    jax,
    regions_table,
    soft,
    soft_table,
    upsampling_table,
)
from benchmarks.study import questions
from benchmarks.study.tables import RENDERED as STUDY
from benchmarks.study.tables import short_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PERFORMANCE = ROOT / "docs" / "performance.md"
GPU = ROOT / "docs" / "gpu-kernels.md"
MATHEMATICS = ROOT / "docs" / "mathematics.md"
UPSAMPLING = ROOT / "docs" / "upsampling.md"
SOFT = ROOT / "docs" / "soft-labels.md"
JAX = ROOT / "docs" / "jax.md"
README = ROOT / "README.md"
COMPARISON = ROOT / "docs" / "comparison.md"
WINDOW = ROOT / "docs" / "window.md"
DECISIONS = ROOT / "docs" / "decisions.md"
METHODS = ("lovasz", "cross_entropy+lovasz", "exact")


def speed_table(found: dict) -> str:
    """One row for each workload, number of threads and kind of memory."""
    lines = [
        "| workload | threads | memory | `cross_entropy` | Lovász-Softmax | both fused | exact |"
        " Lovász-Softmax / floor |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in found["workloads"].items():
        for run in entry["runs"]:
            cells = [name, str(run["threads"]), run["memory"]]
            cells.append(f"{run['cross_entropy']['both_ms']:.3g} ms")
            cells += [f"{run[method]['ratio']:.2f}" for method in METHODS]
            cells.append(f"{run['lovasz']['over_floor']:.1f}")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def others_table(found: dict) -> str:
    """What the paper's algorithm takes, and memory beyond logits and gradient, in one thread."""
    lines = [
        "| workload | paper's algorithm | times Lovász-Softmax | memory: `cross_entropy` |"
        " Lovász-Softmax | both fused | exact |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, entry in found["workloads"].items():
        cells = [name, "", ""]
        if "slow" in entry:
            paper = entry["slow"]["paper"]["both_ms"]
            ours = entry["runs"][0]["lovasz"]["both_ms"]
            cells[1:] = [f"{paper:,.0f} ms", f"{paper / ours:.0f}"]
        peaks = entry.get("peak_bytes", {})
        cells += [
            f"{peaks[method] / 1e6:,.1f} MB" if method in peaks else ""
            for method in ("cross_entropy", *METHODS)
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def scaling_table(found: dict) -> str:
    """Time for each score, which is flat where cost is linear."""
    lines = [
        "| pixels | classes | time | for each score | page faults |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        each = 1e6 * row["ms"] / (row["pixels"] * row["classes"])
        lines.append(
            f"| {row['pixels']:,} | {row['classes']} | {row['ms']:.1f} ms | {each:.2f} ns |"
            f" {row['system_ms']:.1f} ms |"
        )
    return "\n".join(lines)


def accuracy_table(found: dict) -> str:
    """The worst gradient error of each stage over all sizes, worst stages first."""
    lines = [
        "| stage | the loss | | | of a rare class | | | sigmoid | | hinge | |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        "| | **histogram** | sort | paper | **histogram** | sort | paper"
        " | **histogram** | sort | **histogram** | sort |",
    ]
    columns = [
        (kind, group, contender)
        for kind, group, contenders in (
            ("softmax", "all classes", ("histogram", "sort", "published")),
            ("softmax", "rare", ("histogram", "sort", "published")),
            ("sigmoid", "common", ("histogram", "sort")),
            ("hinge", "common", ("histogram", "sort")),
        )
        for contender in contenders
    ]
    stages = {
        stage: [_worst(found["rows"], stage, *column) for column in columns]
        for stage in dict.fromkeys(row["stage"] for row in found["rows"])
    }
    for stage, numbers in sorted(stages.items(), key=lambda item: -item[1][0]):
        lines.append("| " + " | ".join([stage, *map(_percent, numbers)]) + " |")
    return "\n".join(lines)


def _worst(rows: list[dict], stage: str, kind: str, group: str, contender: str) -> float:
    """The largest gradient error of a contender."""
    return max(
        row[contender][1]
        for row in rows
        if row["stage"] == stage and row["loss"].startswith(kind) and row["class"] == group
    )


def _percent(error: float) -> str:
    return f"{100 * error:.2g} %" if error < 1 else f"{100 * error:.0f} %"


def compat_table(found: dict) -> str:
    """One row for each function and what it is compared with."""
    first = next(iter(found["cases"].values()))
    heads = [f"{run['threads']} threads, {run['memory']}" for run in first["runs"]]
    lines = [
        "| loss | input | time of | " + " | ".join(heads) + " |",
        "|---" * (3 + len(heads)) + "|",
    ]
    titles = {"ours": "this", "published": "this / published", "logits": "this / that of logits"}
    for name, entry in found["cases"].items():
        shape = " × ".join(map(str, entry["shape"]))
        for key in entry["runs"][0]["values"]:
            form = "{:.1f} ms" if key == "ours" else "{:.2f}"
            cells = [form.format(run["values"][key]) for run in entry["runs"]]
            lines.append(f"| {name} | {shape} | {titles[key]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gpu_table(found: dict) -> str:
    """One row for each input: times of the device alone, and what the host starts."""
    about = found["about"]
    lines = [
        f"{about['device']}, torch {about['torch']}, Triton {about['triton']}, {about['date']};"
        f" a copy moves {about['copy_gb_per_s']:,.0f} GB/s.",
        "",
        "| workload | cross-entropy | Lovász | both fused | exact | paper's algorithm / Lovász |"
        " of a copy's bandwidth | launches | eager | memory |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, kept in found["workloads"].items():
        first, ours = next(iter(kept.values())), kept.get("lovasz") or kept["sigmoid"]
        fused = kept.get("cross_entropy+lovasz") or kept["both fused"]
        paper = kept.get("paper", {}).get("eager_ms")
        cells = [name, f"{_device_ms(first):.3f} ms"]
        cells += [_device_ratio(method) for method in (ours, fused, kept["exact"])]
        cells += [
            f"{paper / _device_ms(ours):.0f}" if paper else "",
            f"{100 * ours['of_copy_bandwidth']:.0f} %",
            str(ours["launches"]),
            f"{ours['eager_ratio']:.2f}",
            f"{ours['peak_bytes_beyond_gradient'] / 1e6:,.1f} MB",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gpu_soft_table(found: dict) -> str:
    """One row for each loss, of soft labels or by sums: times of the device alone."""
    about = found["about"]
    lines = [
        f"{about['device']}, torch {about['torch']}, Triton {about['triton']}, {about['date']}.",
        "",
        "| workload | loss | device | / cross-entropy | launches | eager |",
        "|---|---|---|---|---|---|",
    ]
    for name, kept in found["workloads"].items():
        for method, times in kept.items():
            recorded = "device_ms" in times
            cells = [
                name,
                method,
                f"{times['device_ms']:.3f} ms" if recorded else "no graph",
                f"{times['device_ratio']:.2f}" if recorded else "",
                str(times["launches"]),
                f"{times['eager_ms']:.2f} ms",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _device_ratio(kept: dict) -> str:
    return f"{kept['device_ratio']:.2f}" if "device_ratio" in kept else "no graph"


def _device_ms(kept: dict) -> float:
    return kept.get("device_ms", kept["eager_ms"])


def plot(found: dict, path: Path) -> None:
    """Both lines, pixels at 8 classes and classes at 100,000 pixels, on logarithmic axes."""
    import matplotlib as mpl  # noqa: PLC0415 - only this command draws
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "scaling"  # the same file for the same numbers
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, key, other, value in (
        (axes[0], "pixels", "classes", 8),
        (axes[1], "classes", "pixels", 10**5),
    ):
        rows = [row for row in found["rows"] if row[other] == value]
        axis.loglog([row[key] for row in rows], [row["ms"] for row in rows], "o-")
        axis.set_xlabel(key)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("forward + backward, ms")
    figure.savefig(path, metadata={"Date": None})


def main(arguments: list[str]) -> None:
    """Rewrite what lies between the markers."""
    argparse.ArgumentParser(prog="python -m benchmarks tables", description=__doc__).parse_args(
        arguments
    )
    tables = (
        ("speed", "speed", speed_table, PERFORMANCE),
        ("others", "speed", others_table, PERFORMANCE),
        ("clouds", "clouds", clouds.table, PERFORMANCE),
        ("scaling", "scaling", scaling_table, PERFORMANCE),
        ("compat", "compat", compat_table, PERFORMANCE),
        ("gpu", "gpu", gpu_table, GPU),
        ("soft", "soft", soft.table, PERFORMANCE),
        ("gpu chunks", "gpu-chunks", gpu_chunks.table, GPU),
        ("gpu soft", "gpu-soft", gpu_soft_table, GPU),
        ("accuracy", "accuracy", accuracy_table, MATHEMATICS),
        ("upsampling", "upsampling", upsampling_table.times_table, UPSAMPLING),
        ("upsampling memory", "upsampling", upsampling_table.memory_table, UPSAMPLING),
        ("regions", "regions", regions_table.times_table, PERFORMANCE),
        ("regions memory", "regions", regions_table.memory_table, PERFORMANCE),
        ("jax", "jax", jax.table, JAX),
        ("soft study", "soft-study", soft_table.table, SOFT),
        ("costs", "decisions", decisions.table, DECISIONS),
        ("window in a sum", "window-in-a-sum", questions.window_table, WINDOW),
        ("window by class", "window-in-a-sum", questions.class_differences, WINDOW),
        ("gradients", "window-gradients", questions.gradient_table, WINDOW),
        ("fed logits", "fed-logits", questions.fed_table, COMPARISON),
        ("study short", "study", short_table, README),
        *((name, "study", render, COMPARISON) for name, render in STUDY.items()),
    )
    for name, source, render, file in tables:
        path = RESULTS / f"{source}.json"
        if not path.exists():
            continue
        found = json.loads(path.read_text())
        page = file.read_text()
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        head, _, rest = page.partition(start)
        file.write_text(head + start + "\n" + render(found) + "\n\n" + end + rest.partition(end)[2])
        if name == "scaling":
            plot(found, ROOT / "docs" / "scaling.svg")
        if name == "fed logits":
            questions.fed_picture(found, ROOT / "docs" / "fed-logits.svg")
        if name == "upsampling":
            upsampling_table.picture(found, ROOT / "docs" / "upsampling.svg")
