"""`lovasz evaluate`: how well a trained network predicts labels that are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Column, Table
from rich.text import Text
from torch.utils.data import ConcatDataset, Dataset

from lovasz.train.data import DataConfig, checked, load_data
from lovasz.train.data.config import Evaluation
from lovasz.train.errors import UserError, WriteError, expect
from lovasz.train.evaluate import Interrupted, evaluate_each, pictures_each
from lovasz.train.evaluation_report import class_rows, differences, evaluation_report, figures
from lovasz.train.fitted import described, gain_words
from lovasz.train.loop import confusion_table
from lovasz.train.processes import make_fabric
from lovasz.train.progress import INTERRUPTED, counted, image_bar, stop_on_signal
from lovasz.train.saved import UseConfig, read_saved
from lovasz.train.writing import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from rich.console import Console
    from torch import Tensor

    from lovasz import Decision
    from lovasz.train.data import DataSet, Part
    from lovasz.train.data.looking import Show
    from lovasz.train.evaluate import Scores
    from lovasz.train.saved import Saved

_PREFERRED = ("test", "val", "train")
_DIVIDING = ("lists", "parts", "split", "split_seed")  # options that say which images are in a part
PARTS = {
    "train": "Training part",
    "val": "Validation part",
    "test": "Test part",
    "all": "All images",
}


@dataclass(kw_only=True)
class EvaluateConfig(UseConfig, DataConfig):
    """Evaluate the network of a run on images with masks.

    The options of the data are those of the run where none are given. Labels are those of argmax,
    and beside them those of the fitted decision, if the run has one.

    Args:
        part: Which images: a part, or all; by default the test part, or else the validation part.
            A folder that is not divided into parts, and was not trained on, is a test part.
        batch_size: Images of a pass of the network; larger images than the window count as more.
        out: New folder for the report, the numbers and the confusion matrix.
    """

    part: Literal["train", "val", "test", "all"] | None = None
    batch_size: int = 8
    out: str = "runs/evaluate"

    def __post_init__(self) -> None:
        """Check the ranges that the types do not say."""
        UseConfig.__post_init__(self)
        DataConfig.__post_init__(self)
        expect(self.batch_size >= 1, "batch_size", "1 or more", self.batch_size)

    @property
    def crop(self) -> int:
        """The window, as `evaluate` calls it."""
        return self.window


def evaluation(given: dict[str, Any], console: Console) -> int:
    """Evaluate, print, write; returns the exit status.

    Args:
        given: The options that the user has given.
        console: Where to print.

    Raises:
        UserError: If run, data or options do not fit together, or the folder is not new.
    """
    saved = read_saved(given["run"])
    config = _config(given, saved)
    out = _new_folder(config.out)
    show = counted(console)
    divide = "split" in given or _is_same(config.data, saved.options["data"])
    data = _load(config, saved, divide, show)
    name, part = _part(config, data)
    data = checked(data, show, data.parts if name == "all" else [name])
    remarks = _remarks(config, saved, name)
    for line in (data.title, *data.notes, *remarks):
        console.print(line, highlight=False, soft_wrap=True)
    offsets = [None] if saved.decision is None else [None, saved.decision.offsets]
    fabric = make_fabric(config)
    network = fabric.setup(saved.network)
    config.window = config.window or saved.window
    with stop_on_signal() as stop, image_bar(console, len(part)) as advance:
        shown = replace(data, parts={name: Watched(part, advance)})
        try:
            found = evaluate_each(
                fabric, network, shown, offsets, part=name, config=config, stop=stop
            )
        except Interrupted:
            console.print("Interrupted. Nothing was written.")
            return INTERRUPTED
    about = {"data": data.title, "part": name, "images": len(part), "window": config.window}
    result = _result(saved, about, found, fabric.device.type)
    for table in _tables(result):
        console.print(table)
    _write(
        out,
        data,
        result,
        pictures_each(fabric, network, part, config.window, saved.statistics, offsets),
        [*data.notes, *remarks],
        saved.decision,
    )
    console.print(f"Report: {out / 'report.html'}", highlight=False, soft_wrap=True)
    return 0


def _result(
    saved: Saved, about: dict[str, Any], found: list[Scores], device: str
) -> dict[str, Any]:
    """The content of result.json: scores of argmax, and those of the fitted decision if any."""
    result = {
        "checkpoint": str(saved.path),
        "sha256": saved.digest,
        **about,
        "classes": saved.classes,
        **found[0].as_dict(),
        "device": device,
    }
    if saved.decision is not None:
        result |= {"decided": found[1].as_dict(), "decision": described(saved.decision)}
    return result


def _config(given: dict[str, Any], saved: Saved) -> EvaluateConfig:
    """The options that are given, and where they are not those of the run for its data."""
    trained = dict(saved.options)
    if given.get("data") is None:
        given = {name: value for name, value in given.items() if name != "data"}
    elif not _is_same(given["data"], trained["data"]):
        # Other images bring their own names of classes, which must be those of the network, and
        # are not divided as those of the training were.
        for name in ("class_names", "split", "split_seed"):
            trained.pop(name, None)
    return EvaluateConfig(**{**trained, **given})


def _is_same(data: str, other: str) -> bool:
    """Whether both are the same folder, or the same data of this package."""
    return data == other or Path(data).expanduser().resolve() == Path(other).resolve()


def _new_folder(name: str) -> Path:
    """The folder for the results.

    Raises:
        UserError: If it holds something.
    """
    out = Path(name).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"out: expected a new folder, got {out}, which is none; name another one")
    return out


def _load(config: EvaluateConfig, saved: Saved, divide: bool, show: Show) -> DataSet:
    """The data, read as that of the training was.

    Raises:
        UserError: If it has other classes or channels than the network.
    """
    evaluation = Evaluation(saved.classes, divide)
    data = load_data(config, show, evaluation)
    channels = saved.statistics.channels
    if data.statistics.channels == 1 and channels == 3 and not config.channels:
        # As in training, where grey images beside colour are read as colour.
        data = load_data(replace(config, channels=3), show, evaluation)
    if data.classes != saved.classes:
        pairs = zip_longest(saved.classes, data.classes, fillvalue="no class")
        k, expected, got = next((k, a, b) for k, (a, b) in enumerate(pairs) if a != b)
        raise UserError(
            f"data: expected the classes of the network in their order, {expected} for label {k},"
            f" got {got} in {config.data}"
        )
    if data.statistics.channels != channels:
        raise UserError(
            f"data: expected images with {channels} channels, as those that the network was"
            f" trained on, got {data.statistics.channels} in {config.data}"
        )
    return replace(data, statistics=saved.statistics)


def _part(config: EvaluateConfig, data: DataSet) -> tuple[str, Part]:
    """Name and images of the part that the options ask for."""
    if config.part == "all":
        parts: list[Any] = list(data.parts.values())
        everything: Any = ConcatDataset(parts)
        return "all", everything
    found = [name for name in (config.part, *_PREFERRED) if name in data.parts]
    name = config.part or found[0]
    expect(name in data.parts, "part", f"one of {', '.join(data.parts)} or all", name)
    return name, data.parts[name]


def _remarks(config: EvaluateConfig, saved: Saved, part: str) -> list[str]:
    """What a reader of the numbers should know."""
    if not _is_same(config.data, saved.options["data"]):
        return []
    anew = any(getattr(config, name) != saved.options.get(name) for name in _DIVIDING)
    remarks = []
    if part in ("train", "all"):
        remarks = [
            "The network was trained on some of these images or on all: others show its worth."
        ]
    elif anew:
        remarks = [
            "The images are divided in another way than in training: the network may have been"
            " trained on some of these. Others show its worth."
        ]
    if saved.decision is not None and (anew or part in ("val", "all")):
        some = "these images" if part == "val" and not anew else "some of these images"
        may = "may have been" if anew and part != "all" else "were"
        remarks.append(
            f"The offsets of the fitted decision {may} fitted to {some}, where they gain more than"
            f" elsewhere. On images that they were not fitted to the gain was"
            f" {gain_words(saved.decision)}."
        )
    return remarks


class Watched(Dataset["tuple[Tensor, Tensor]"]):
    """A part that shows how many of its images have been read, which are read in turn."""

    def __init__(self, part: Part, show: Callable[[float], None]) -> None:
        self.part, self.show = part, show

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.show(index + 1)
        return self.part[index]


def _tables(result: dict[str, Any]) -> list[Table]:
    """The IoU of each class, and the means: by argmax, and by the fitted decision."""
    title = f"{PARTS[result['part']]}, {result['images']:,} images, in %"
    every = [result]
    if "decided" in result:
        every.append(result["decided"])
        title += ": argmax → fitted decision"
    classes = Table(title=title)
    classes.add_column("class", overflow="fold")
    for name in ("share of pixels", "IoU", "recall", "precision"):
        classes.add_column(name, justify="right")
    for rows in zip(*(class_rows(result["classes"], scores) for scores in every), strict=True):
        # What is the same by both stands there once.
        numbers = [
            " → ".join(dict.fromkeys(row.percent(name) for row in rows))
            for name in ("share", "iou", "recall", "precision")
        ]
        classes.add_row(Text(rows[0].name), *numbers)
    return [classes, _means(result)]


def _means(result: dict[str, Any]) -> Table:
    """All means, and what the fitted decision changes."""
    if "decided" not in result:
        means = Table("mean", Column("%", justify="right"))
        for name, value in figures(result).items():
            means.add_row(name, value)
        return means
    titles = ("argmax, %", "fitted decision, %", "difference")
    means = Table("mean", *(Column(title, justify="right") for title in titles))
    columns = (figures(result), figures(result["decided"]), differences(result))
    for name in columns[0]:
        means.add_row(name, *(column[name] for column in columns))
    return means


def _write(
    out: Path,
    data: DataSet,
    result: dict[str, Any],
    shown: list[dict[str, np.ndarray[Any, Any]]],
    remarks: list[str],
    decision: Decision | None,
) -> None:
    """Write all files, result.json as the last one."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError.of(out, error) from error
    write_text(out / "confusion.csv", confusion_table(data.classes, result["confusion"]))
    if "decided" in result:
        table = confusion_table(data.classes, result["decided"]["confusion"])
        write_text(out / "confusion_fitted.csv", table)
    page = evaluation_report(data, result, shown, remarks, decision)
    write_text(out / "report.html", page)
    write_json(out / "result.json", result)
