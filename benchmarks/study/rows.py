"""The rows of the study: one line each in a file of this machine, and those that are committed."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from benchmarks.speed import ROOT, about
from benchmarks.study.training import Setting

RUNS = ROOT / "runs" / "study" / "runs.jsonl"
OUTPUT = ROOT / "benchmarks" / "results" / "study.json"


def setting_of(row: dict) -> Setting:
    """What the row is known by."""
    return Setting(**{field.name: row[field.name] for field in fields(Setting)})


def read_lines(path: Path) -> dict[Setting, dict]:
    """The rows in a file of lines; one that was cut off is left out."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return {setting_of(row): row for row in rows}


def append(path: Path, row: dict) -> None:
    """Add a line, after the end of one that was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_off = path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write("\n" * bool(cut_off) + json.dumps(row) + "\n")


def read_committed(path: Path) -> dict[Setting, dict]:
    """The rows of a file of results, if there is one."""
    found = json.loads(path.read_text())["rows"] if path.exists() else []
    return {setting_of(row): row for row in found}


def write(path: Path, rows: dict[Setting, dict]) -> None:
    """A file of results with a line for each row, in an order that does not depend on time."""
    order = sorted(rows.values(), key=lambda r: (r["task"], r["loss"], r["lr"], r["seed"]))
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in order)
    head = json.dumps(about())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"about": {head},\n"rows": [\n{lines}\n]}}\n')
