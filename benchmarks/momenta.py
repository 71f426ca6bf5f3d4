"""The window study at several momenta: what each adds to the loss of the batch, paired by seed.

Takes files of `python -m benchmarks window` with one momentum each. The first has the losses
without a window, which the others are compared with.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path

from benchmarks.speed import ROOT
from benchmarks.window_table import grouped, paired, shown

RESULTS = ROOT / "benchmarks" / "results"
OUTPUT = RESULTS / "window-momenta.json"
KINDS = {"windowed": "lovasz-softmax", "both-windowed": "both"}
KEPT = ("data", "batch_size", "loss", "lr", "steps", "test")


def table(studies: list[dict]) -> str:
    """One row for each data set, batch size and kind of loss, one column for each momentum."""
    without = dict(grouped(studies[0]))
    by_momentum = {study["momentum"]: dict(grouped(study)) for study in studies}
    momenta = sorted(by_momentum)
    lines = [
        "| data | batch size | difference | " + " | ".join(f"β = {m:g}" for m in momenta) + " |",
        "|---" * (3 + len(momenta)) + "|",
    ]
    for (key, before), (loss, base) in product(without.items(), KINDS.items()):
        columns = [by_momentum[m].get(key, {}).get(loss) for m in momenta]
        texts = [
            shown(paired(before[base]["test"], cell["test"]), sign="+") if cell else ""
            for cell in columns
        ]
        lines.append(f"| {key[0]} | {key[1]} | {loss} − {base} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print the table, and keep the other momenta in one file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks momenta", description=__doc__)
    parser.add_argument("--first", type=Path, default=RESULTS / "window.json")
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="files of other momenta")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    studies = json.loads(options.output.read_text()) if options.output.exists() else []
    for path in options.add:
        study = json.loads(path.read_text())
        study["cells"] = [{name: cell[name] for name in KEPT} for cell in study["cells"]]
        studies.append(study)
    print(table([json.loads(options.first.read_text()), *merged(studies)]))
    if options.add:
        options.output.write_text(json.dumps(merged(studies), indent=1) + "\n")


def merged(studies: list[dict]) -> list[dict]:
    """One study for each momentum, with the cells of all; of equal ones the last."""
    found: dict[float, dict] = {}
    for study in studies:
        kept = found.setdefault(study["momentum"], {**study, "cells": []})
        new = {(c["data"], c["batch_size"], c["loss"]) for c in study["cells"]}
        kept["cells"] = [
            cell
            for cell in kept["cells"]
            if (cell["data"], cell["batch_size"], cell["loss"]) not in new
        ] + study["cells"]
    return list(found.values())
