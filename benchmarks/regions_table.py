"""Tables of ``python -m benchmarks regions``, from its numbers."""

from __future__ import annotations

CROSS_ENTROPY = "cross-entropy"
NNUNET = "nnU-Net"
NNUNET_IGNORED = "nnU-Net, ignored label"
MONAI = "MONAI"
MONAI_SOFT = "MONAI, soft labels"
DICE = "cross-entropy and Dice"
DICE_IGNORED = "cross-entropy and Dice, ignored label"
DICE_SOFT = "cross-entropy and Dice, soft labels"
LOVASZ = "cross-entropy and Lovász"

# What the pages call them.
TITLES = {
    CROSS_ENTROPY: "`F.cross_entropy`",
    NNUNET: "nnU-Net `DC_and_CE_loss`",
    DICE: "`cross_entropy_dice`",
    LOVASZ: "`cross_entropy_lovasz_softmax`",
    NNUNET_IGNORED: "nnU-Net, ignored label",
    DICE_IGNORED: "`cross_entropy_dice`, ignored label",
    MONAI: "MONAI `DiceCELoss`",
    MONAI_SOFT: "MONAI, soft labels",
    DICE_SOFT: "`cross_entropy_dice`, soft labels",
}
# What the time of this package is compared with; the cross-entropy where it is not installed.
COUNTERPARTS = {
    DICE: NNUNET,
    LOVASZ: NNUNET,
    DICE_IGNORED: NNUNET_IGNORED,
    DICE_SOFT: MONAI_SOFT,
}


def times_table(found: dict) -> str:
    """One row for each workload, number of threads and kind of memory."""
    about = found["about"]
    rounds = sorted({entry["rounds"] for entry in found["workloads"].values()})
    shown = shown_of(found)
    heads = [TITLES[way] + compared(way, shown) for way in shown]
    lines = [
        f"{about['machine']}, kernels {about['level']}, torch {about['torch']}, {about['date']};"
        f" rounds: {' to '.join(map(str, rounds))}.",
        "",
        "| workload | threads, memory | " + " | ".join(heads) + " |",
        "|---" * (2 + len(heads)) + "|",
    ]
    for name, entry in found["workloads"].items():
        for run in entry["runs"]:
            cells = [name, f"{run['threads']}, {run['memory']}"]
            cells += [time_of(run["ways"], way, shown) for way in shown]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown_of(found: dict) -> list[str]:
    """The ways that were measured, in the order of the table."""
    measured = {way for entry in found["workloads"].values() for way in entry["peak_bytes"]}
    return [way for way in TITLES if way in measured]


def counterpart(way: str, shown: list[str]) -> str | None:
    """What a way is compared with, if anything."""
    if way not in COUNTERPARTS:
        return None
    return COUNTERPARTS[way] if COUNTERPARTS[way] in shown else CROSS_ENTROPY


def compared(way: str, shown: list[str]) -> str:
    """For the head of a column."""
    other = counterpart(way, shown)
    return "" if other is None else f" (ratio to {other})"


def time_of(kept: dict, way: str, shown: list[str]) -> str:
    """Milliseconds, and the ratio with its spread."""
    if way not in kept:
        return ""
    text, other = f"{kept[way]['ms']:,.1f} ms", counterpart(way, shown)
    if other is None:
        return text
    low, high = kept[way]["spread"][other]
    return f"{text}, {kept[way]['ratio'][other]:.3f} ({low:.3f} to {high:.3f})"


def memory_table(found: dict) -> str:
    """One row for each workload: bytes for each score at the peak, gradient included."""
    shown = shown_of(found)
    lines = [
        "| workload | logits | " + " | ".join(TITLES[way] for way in shown) + " |",
        "|---" * (2 + len(shown)) + "|",
    ]
    for name, entry in found["workloads"].items():
        peaks, scores = entry["peak_bytes"], entry["scores"]
        cells = [name, " × ".join(map(str, entry["shape"]))]
        cells += [f"{peaks[way] / scores:.1f}" if way in peaks else "" for way in shown]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
