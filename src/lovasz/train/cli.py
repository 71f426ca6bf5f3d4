"""The `lovasz` command, as far as it goes without the packages that it needs."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# What the extra brings, by import name: the command line itself must start without it.
_NEEDED = [
    "filelock",
    "jinja2",
    "jsonargparse",
    "lightning_fabric",
    "matplotlib",
    "monai",
    "numpy",
    "PIL",
    "imagecodecs",
    "rich",
    "tensorboard",
    "tifffile",
    "torch",
    "torchmetrics",
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0; 2 for what the user can mend; 3 for a run that diverged; 130 for one that was stopped.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        print(
            f"lovasz: training needs {', '.join(missing)}: run pip install '.[train]' in a checkout"
            " of lovasz",
            file=sys.stderr,
        )
        return 2
    # After the check, and only for those who train: these imports take seconds.
    try:
        from lovasz.train.commands import run  # noqa: PLC0415

        return run(sys.argv[1:] if argv is None else list(argv))
    except KeyboardInterrupt:  # before the training starts, or a second Ctrl-C
        return 130


if __name__ == "__main__":
    sys.exit(main())
