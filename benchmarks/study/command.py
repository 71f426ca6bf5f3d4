"""`python -m benchmarks study`: do what is left of the study, and write its results.

Every training is a line in a file, and those that are committed count too: a training that is there
is not repeated, so that the study can be ended and continued at any time, task by task and loss by
loss, here or elsewhere.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from benchmarks.runs import append, read_lines, setting_of, workers
from benchmarks.study.choice import RATES, SEEDS, wanted
from benchmarks.study.losses import TITLES
from benchmarks.study.rows import OUTPUT, RUNS, Results, described, read_committed, write
from benchmarks.study.tasks import COMPARED, TASKS, load
from benchmarks.study.training import Setting, run
from benchmarks.study.variants import TITLES as VARIANTS


def main(arguments: list[str]) -> None:
    """Train what is missing; write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks study", description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=COMPARED, choices=list(TASKS))
    parser.add_argument("--losses", nargs="+", default=list(TITLES), choices=[*TITLES, *VARIANTS])
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--steps", type=int, help="of each training; by default by task")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each")
    parser.add_argument("--write", action="store_true", help="train nothing, write what there is")
    parser.add_argument("--anew", action="store_true", help="do not count committed trainings")
    parser.add_argument("--runs", type=Path, default=RUNS, help="one line for each training")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    kept = Results({}, {}) if options.anew else read_committed(options.output)
    rows = kept.rows | read_lines(Setting, options.runs)
    if not options.write:
        work(options, rows)
    known = {name: described(load(name)) for name in options.tasks}
    write(options.output, Results(rows, kept.tasks | known))


def work(options: argparse.Namespace, rows: dict[Setting, dict]) -> None:
    """Add what is missing to the rows and to the file."""
    tasks = {name: options.steps or load(name).steps for name in options.tasks}
    missing = partial(wanted, tasks, options.losses, options.rates, options.seeds, rows)
    with workers(options.jobs, run) as each:
        while settings := missing():
            for number, row in enumerate(each(settings), start=1):
                append(options.runs, row)
                rows[setting_of(Setting, row)] = row
                print(f"{number}/{len(settings)} {told(row)}", flush=True)


def told(row: dict) -> str:
    """A row on the screen."""
    name = f"{row['task']} {row['loss']} lr {row['lr']:g} seed {row['seed']}"
    if row["val"] is None:
        return f"{name}: diverged"
    scores = (f"{way} {100 * row['test'][way]['miou']:.1f}" for way in ("argmax", "fitted"))
    return f"{name}: mIoU {', '.join(scores)}, {row['seconds']:.0f} s"
