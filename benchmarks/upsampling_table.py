"""Tables and picture of ``python -m benchmarks upsampling``, from its numbers."""

from __future__ import annotations

from pathlib import Path

# The ways to a loss, the first of which the others are compared with; and those to labels.
PAIR = "interpolate, cross-entropy"
COMPILED = "interpolate, cross-entropy, compiled"
STORED = "interpolate, both losses"
BOTH = "both losses, upsample"
ALONE = "cross-entropy, upsample"
ENLARGED = "cross-entropy of enlarged logits"  # what is left without any interpolation
ARGMAX = "interpolate, argmax"
LABELS = "upsampled argmax"

# What the pages call them.
LOSSES = {
    PAIR: "`interpolate`, cross-entropy",
    COMPILED: "the same, compiled",
    STORED: "`interpolate`, both",
    BOTH: "both, `upsample=`",
    ALONE: "cross-entropy, `upsample=`",
}
SHOWN = "ade-of-4"


def times_table(found: dict) -> str:
    """One row for each workload, number of threads and kind of memory; ratios after the first."""
    losses = {**LOSSES, ENLARGED: "already enlarged"}
    heads = [*losses.values(), "argmax", "`upsampled_argmax`"]
    about = found["about"]
    rounds = sorted({entry["rounds"] for entry in found["workloads"].values()})
    lines = [
        f"{about['machine']}, kernels {about['level']}, torch {about['torch']}, {about['date']};"
        f" rounds: {' to '.join(map(str, rounds))}.",
        "",
        "| workload | threads, memory | " + " | ".join(heads) + " |",
        "|---" * (2 + len(heads)) + "|",
    ]
    for name, entry in found["workloads"].items():
        for run in entry["runs"]:
            kept = run["ways"]
            cells = [name, f"{run['threads']}, {run['memory']}"]
            for way in (*losses, ARGMAX, LABELS):
                if way in (PAIR, ARGMAX):
                    cells.append(f"{kept[way]['ms']:,.0f} ms")
                else:
                    cells.append(_ratio(kept[way], way == BOTH) if way in kept else "")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _described(name: str, entry: dict) -> str:
    """A workload's name, shape of its logits, sizes of its labels, and what is unusual about it."""
    parts = [f"{name}: {_sizes(entry['shape'])} to {_sizes(entry['size'])}"]
    if entry["align_corners"]:
        parts.append("`align_corners`")
    if entry["dtype"] != "float32":
        parts += [entry["dtype"], f"`{entry['memory_format']}`"]
    return ", ".join(parts)


def _sizes(sizes: list[int]) -> str:
    return " × ".join(map(str, sizes))


def _ratio(kept: dict, with_spread: bool) -> str:
    low, high = kept["spread"]
    return f"{kept['ratio']:.2f}" + (f" ({low:.2f} to {high:.2f})" if with_spread else "")


def memory_table(found: dict) -> str:
    """One row for each workload: megabytes, and bytes for each score of full resolution."""
    ways = {**LOSSES, ARGMAX: "`interpolate`, argmax", LABELS: "`upsampled_argmax`"}
    lines = [
        "| workload | scores, enlarged | " + " | ".join(ways.values()) + " |",
        "|---" * (2 + len(ways)) + "|",
    ]
    for name, entry in found["workloads"].items():
        peaks, scores = entry["peak_bytes"], entry["scores"]
        cells = [_described(name, entry), f"{scores / 1e6:,.1f} million"]
        cells += [
            f"{peaks[way] / 1e6:,.1f} MB, {peaks[way] / scores:.2g}" if way in peaks else ""
            for way in ways
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(found: dict, path: Path) -> None:
    """Time and memory of every way to a loss, of one workload in its first run."""
    import matplotlib as mpl  # noqa: PLC0415 - only this command draws
    from matplotlib.figure import Figure  # noqa: PLC0415

    name = SHOWN if SHOWN in found["workloads"] else next(iter(found["workloads"]))
    entry = found["workloads"][name]
    run = entry["runs"][0]
    kept = run["ways"]
    shown = [way for way in LOSSES if way in kept]
    titles = [
        LOSSES[way].replace("`", "").replace("both", "cross-entropy + Lovász") for way in shown
    ]
    colours = ["tab:orange" if "upsample=" in title else "tab:gray" for title in titles]
    panels = (
        ("forward + backward, ms", [kept[way]["ms"] for way in shown]),
        ("peak of memory, MB", [entry["peak_bytes"][way] / 1e6 for way in shown]),
    )
    # The same file for the same numbers.
    with mpl.rc_context({"svg.hashsalt": "upsampling", "font.size": 8}):
        figure = Figure(figsize=(8, 2.2), layout="constrained")
        for axes, (label, values) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
            bars = axes.barh(titles, values, color=colours)
            axes.bar_label(bars, fmt="{:,.0f}", padding=2)
            axes.set_xlim(0, 1.15 * max(values))
            axes.set_xlabel(label)
            axes.spines[["top", "right"]].set_visible(False)
        axes.invert_yaxis()
        sizes = (_sizes(entry[key]) for key in ("shape", "size"))
        threads = "one thread" if run["threads"] == 1 else f"{run['threads']} threads"
        figure.suptitle("logits {}, labels of {}, ".format(*sizes) + threads)
        figure.savefig(path, metadata={"Date": None})
