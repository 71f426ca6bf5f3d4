"""Time of the losses for JAX on the CPU, as ratios: to optax's cross-entropy, and to a sort.

Value and gradient of one compiled function each. Every method is in a process of its own with every
other that it is compared with; rounds are interleaved, as ``benchmarks.timing`` has them. Needs the
environment of ``make jax``: ``build/jax/bin/python -m benchmarks jax``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "benchmarks" / "results" / "jax.json"
#: shape of the logits, classes last
WORKLOADS = {
    "cityscapes": (2, 512, 1024, 19),
    "ade": (2, 512, 512, 150),
    "small": (1, 64, 64, 19),
}
QUICK = {"images": (1, 32, 48, 5)}
#: Of each table row: what is measured, and what its time is divided by.
PAIRS = {
    "cross-entropy + Lovász, by optax": ("both", "optax"),
    "Lovász, by a sort": ("lovasz", "sort"),
    "Lovász in jax.numpy, by a sort": ("plain", "sort"),
    "cross-entropy + Lovász in jax.numpy, by optax": ("plain_both", "optax"),
}


def child(shape, names, rounds, threads):
    """The same in a process of its own, on so many cores."""
    request = json.dumps({"shape": shape, "names": names, "rounds": rounds, "threads": threads})
    command = [sys.executable, "-m", "benchmarks.jax_methods", request]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def about():
    """What was measured, on what."""
    versions = {name: version(name) for name in ("jax", "jaxlib", "optax", "lovasz")}
    return {"machine": _processor(), "versions": versions}


def table(found):
    """One row for each method and what it is compared with."""
    threads = sorted({row["threads"] for row in found["rows"]})
    heads = [f"{n} thread{'s' * (n > 1)}: time | ratio" for n in threads]
    lines = [
        "| method, by what | logits | " + " | ".join(heads) + " |",
        "|---" * (2 + 2 * len(threads)) + "|",
    ]
    rows = {}
    for row in found["rows"]:
        rows.setdefault((row["what"], row["workload"]), {})[row["threads"]] = row
    for what in PAIRS:
        for workload, shape in WORKLOADS.items():
            if (what, workload) in rows:
                own = rows[what, workload]
                cells = [
                    f"{own[n]['milliseconds']:.1f} ms | {own[n]['ratio']:.3f}" for n in threads
                ]
                size = " × ".join(map(str, shape))
                lines.append(f"| {what} | {size} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))


def main(arguments):
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks jax")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="a small input, once")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    rounds, workloads = options.rounds, WORKLOADS
    if options.quick:
        rounds, workloads = 1, QUICK
    rows = []
    for threads in options.threads:
        for workload, shape in workloads.items():
            for what, (name, other) in PAIRS.items():
                if other == "sort" and workload == "ade":
                    continue  # sorting 79 million errors takes minutes
                repeats = rounds if other == "optax" else max(1, rounds // 2)
                times = child(shape, [name, other], repeats, threads)
                ratios = [a / b for a, b in zip(times[name], times[other], strict=True)]
                row = {
                    "workload": workload,
                    "threads": threads,
                    "what": what,
                    "milliseconds": round(statistics.median(times[name]), 3),
                    "ratio": round(statistics.median(ratios), 4),
                }
                print(json.dumps(row, ensure_ascii=False), flush=True)
                rows.append(row)
    if options.output:
        result = {**about(), "rounds": rounds, "rows": rows}
        options.output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
