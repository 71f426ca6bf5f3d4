"""Where the rows of the study are: those of this machine, and those that are committed."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.runs import setting_of
from benchmarks.speed import ROOT, about
from benchmarks.study.training import Setting

RUNS = ROOT / "runs" / "study" / "runs.jsonl"
OUTPUT = ROOT / "benchmarks" / "results" / "study.json"


def read_committed(path: Path) -> dict[Setting, dict]:
    """The rows of a file of results, if there is one."""
    found = json.loads(path.read_text())["rows"] if path.exists() else []
    return {setting_of(Setting, row): row for row in found}


def write(path: Path, rows: dict[Setting, dict]) -> None:
    """A file of results with a line for each row, in an order that does not depend on time."""
    order = sorted(rows.values(), key=lambda r: (r["task"], r["loss"], r["lr"], r["seed"]))
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in order)
    head = json.dumps(about())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"about": {head},\n"rows": [\n{lines}\n]}}\n')
