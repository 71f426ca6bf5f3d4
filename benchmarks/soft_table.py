"""The table of the study of soft labels, from its runs."""

from __future__ import annotations

import statistics

from benchmarks.window_table import paired, shown

# What the losses are called; all are beside a cross-entropy.
TITLES = {
    "hard": "hard labels: Lovász",
    "hard-jml": "hard labels: JML",
    "smooth-ce": "smoothed cross-entropy: Lovász of hard labels",
    "smooth-both": "smoothed cross-entropy: Lovász of smoothed labels",
    "smooth-jml": "smoothed cross-entropy: JML of smoothed labels",
    "teacher-hard": "cross-entropy of the teacher's labels: Lovász of hard labels",
    "teacher-both": "cross-entropy of the teacher's labels: Lovász of the teacher's labels",
    "teacher-jml": "cross-entropy of the teacher's labels: JML of the teacher's labels",
}
#: second minus first: what the labels change, and what the loss changes
PAIRS = [
    ("hard", "smooth-ce"),
    ("hard", "smooth-both"),
    ("hard", "teacher-hard"),
    ("hard", "teacher-both"),
    ("smooth-ce", "smooth-both"),
    ("teacher-hard", "teacher-both"),
    ("hard-jml", "hard"),
    ("smooth-jml", "smooth-both"),
    ("teacher-jml", "teacher-both"),
]


def table(found: dict) -> str:
    """One row for each variant, and one for each pair that tells something."""
    about, study = found["about"], found["study"]
    teachers = ""
    if found["teachers"]:
        epochs, miou = study["teacher_epochs"], spread(found["teachers"])
        teachers = f"; the teachers: {epochs} epochs, mIoU {miou} %"
    lines = [
        f"{about['machine']}, torch {about['torch']}, {about['date']}; {study['epochs']} epochs,"
        f" learning rate {study['lr']:g}, smoothing {study['smoothing']:g},"
        f" {len(study['seeds'])} seeds{teachers}.",
        "",
        "| beside a cross-entropy | mIoU, % | accuracy, % | calibration error, % |",
        "|---|---|---|---|",
    ]
    for name, kept in found["variants"].items():
        columns = (spread(kept[key]) for key in ("miou", "accuracy", "ece"))
        lines.append(f"| {TITLES[name]} | " + " | ".join(columns) + " |")
    lines += [
        "",
        "Mean and standard deviation over the seeds. Differences of the mIoU, paired by seed, with"
        " their 95 % intervals:",
        "",
        "| | difference, % |",
        "|---|---|",
    ]
    for first, second in PAIRS:
        if {first, second} <= found["variants"].keys():
            values = paired(*(found["variants"][name]["miou"] for name in (first, second)))
            lines.append(f"| {TITLES[second]} − {TITLES[first]} | {shown(values, sign='+')} |")
    return "\n".join(lines)


def spread(values: dict[str, float]) -> str:
    """Per cent, mean and standard deviation.

    >>> spread({"0": 0.5, "1": 0.52})
    '51.0 (1.4)'
    """
    numbers = [100 * value for value in values.values()]
    deviation = f" ({statistics.stdev(numbers):.1f})" if len(numbers) > 1 else ""
    return f"{statistics.fmean(numbers):.1f}{deviation}"
