"""The picture of the README: image, truth and predictions of a finished ``make demo``.

All images that the report shows, in its order: none is chosen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from lovasz.train.config import CompareConfig
from lovasz.train.data.landcover import load_landcover
from lovasz.train.runs import chosen_lr
from lovasz.train.summary import TITLES


def main(arguments: list[str]) -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks picture", description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"))
    parser.add_argument("--to", type=Path, default=Path("docs/demo.png"))
    options = parser.parse_args(arguments)
    config = CompareConfig(out=str(options.demo))
    files = []
    for loss in config.losses:
        rate = chosen_lr(config, loss)
        if rate is None:
            parser.error(f"expected a finished demo in {options.demo}: run make demo first")
        run = Path(config.run(loss, rate, config.seeds[0]).out)
        files.append(np.load(run / "pictures.npz"))
    colours = ListedColormap(np.array(load_landcover().colours) / 255)

    count = sum(name.startswith("image") for name in files[0])
    titles = ["image", "truth", *(TITLES[loss] for loss in config.losses)]
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
        figure = Figure(figsize=(8, 1.6 * count + 0.2), layout="constrained")
        grid = figure.subplots(count, len(titles), squeeze=False)
        for k, row in enumerate(grid):
            row[0].imshow(files[0][f"image{k}"])
            labels = [files[0][f"truth{k}"], *(file[f"prediction{k}"] for file in files)]
            for axes, values in zip(row[1:], labels, strict=True):
                axes.imshow(values, cmap=colours, vmin=0, vmax=colours.N - 1, interpolation="none")
            for axes in row:
                axes.set_axis_off()
        for axes, title in zip(grid[0], titles, strict=True):
            axes.set_title(title.replace(" + ", " +\n"))
        figure.savefig(options.to, dpi=100)
    print(options.to)
