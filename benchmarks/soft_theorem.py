"""The theorem about soft labels on random cases, with and without the cap."""

from __future__ import annotations

import argparse

from tools.soft_theorem import statements, tried, without_the_cap


def main(arguments: list[str]) -> None:
    """Print the table of the docs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks soft-theorem", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    options = parser.parse_args(arguments)
    capped, uncapped = (tried(options.cases, what) for what in (statements, without_the_cap))
    print(f"Violations in {options.cases:,} random cases\n")
    print("| statement | with the cap | without |")
    print("|---|---|---|")
    for name, found in capped.items():
        without = f"{uncapped[name].violations:,}" if name in uncapped else ""
        print(f"| {name} | {found.violations:,} | {without} |")
