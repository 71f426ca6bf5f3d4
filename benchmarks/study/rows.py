"""Where the rows of the study are: those of this machine, and those that are committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from benchmarks.runs import setting_of
from benchmarks.speed import ROOT, about
from benchmarks.study.task import Task
from benchmarks.study.training import Setting

RUNS = ROOT / "runs" / "study" / "runs.jsonl"
OUTPUT = ROOT / "benchmarks" / "results" / "study.json"


class Results(NamedTuple):
    """What a file of results holds beside the machine."""

    rows: dict[Setting, dict]
    tasks: dict[str, dict]  # of each name what the tables say of it


def described(task: Task) -> dict:
    """What the tables say of a task, so that they can be made without its data."""
    return {"title": task.title, "about": task.about, "classes": task.classes}


def read_committed(path: Path) -> Results:
    """A file of results; an empty one if there is none."""
    if not path.exists():
        return Results({}, {})
    found = json.loads(path.read_text())
    return Results({setting_of(Setting, row): row for row in found["rows"]}, found["tasks"])


def write(path: Path, results: Results) -> None:
    """A file of results with a line for each row, in an order that does not depend on time."""
    order = sorted(results.rows.values(), key=lambda r: (r["task"], r["loss"], r["lr"], r["seed"]))
    there = {row["task"] for row in order}
    tasks = {name: results.tasks[name] for name in sorted(results.tasks) if name in there}
    parts = [json.dumps({"about": about()})[1:-1]]
    parts.append(f'"tasks": {json.dumps(tasks, ensure_ascii=False, indent=1)}')
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in order)
    parts.append(f'"rows": [\n{lines}\n]')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{" + ",\n".join(parts) + "}\n")
