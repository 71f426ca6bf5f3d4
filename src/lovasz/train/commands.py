"""From the words of the command line to a run, its report and its exit status."""

from __future__ import annotations

import errno
import logging
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jsonargparse import ArgumentParser
from rich.table import Table

from lovasz import __version__
from lovasz.train.arguments import command_of
from lovasz.train.compare import compare, cores
from lovasz.train.config import CompareConfig, Config, TrainConfig
from lovasz.train.data import checked, load_data
from lovasz.train.errors import DivergedError, UserError
from lovasz.train.evaluate import Interrupted
from lovasz.train.folder import check_free, claimed
from lovasz.train.headline import consequence, headline, notes
from lovasz.train.loop import test, train
from lovasz.train.losses import check_options
from lovasz.train.model import network_for
from lovasz.train.processes import check_processes, left_in_order, meet, processes
from lovasz.train.progress import (
    INTERRUPTED,
    add_bar,
    bars,
    counted,
    screen,
    stop_on_signal,
    throttled,
)
from lovasz.train.report import write_report
from lovasz.train.runs import finished_runs, read_run
from lovasz.train.summary import Summary, summarise
from lovasz.train.trial import fitting_loss
from lovasz.train.uses import USES, add_uses, use
from lovasz.train.weights import WeightsConfig, weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from lovasz.train.data import DataSet

_DATA = "landcover, scenes or a folder with images and masks (type: str)"


def run(argv: Sequence[str]) -> int:
    """Run `lovasz` with these arguments; returns the exit status."""
    parser = _parser()
    # Options that are not given have the defaults of their classes.
    parsed = parser.parse_args([_underscored(word) for word in argv], defaults=False)
    chosen = parsed[parsed.subcommand].as_dict()
    chosen.pop("config", None)
    _quiet()
    console = screen(quiet=not processes().first)
    try:
        return _do(parsed.subcommand, chosen, console)
    except UserError as error:
        # Of several processes all say it: torchrun may end the first one before it comes to it.
        print(f"lovasz: error: {error}", file=sys.stderr)
        return error.status
    except (torch.OutOfMemoryError, MemoryError) as error:
        words = str(error).partition(". ")[0] or "out of memory"
        lower = "--window" if parsed.subcommand in USES else "--batch-size or --crop"
        sentence = f"{parsed.subcommand}: {words}; try a lower {lower}"
        print(f"lovasz: error: {sentence}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"lovasz: error: {parsed.subcommand}: {error.strerror}", file=sys.stderr)
        return 2


def _do(name: str, given: dict[str, Any], console: Console) -> int:
    """Do what a sub-command asks for with the options that are given."""
    if name == "train":
        with left_in_order():
            return _train(TrainConfig(**given), console)
    if name == "weights":
        return weights(WeightsConfig(**given), console)
    if name in USES:
        return use(name, given, console)
    if processes().size > 1:
        raise UserError("compare: expected one process, got torchrun; --jobs is for several")
    return _compare(CompareConfig(**given), console)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="lovasz",
        description="Train segmentation networks and compare losses.",
        version=__version__,
    )
    commands = parser.add_subcommands(dest="subcommand", required=True)
    kinds: dict[str, tuple[type[Config], str]] = {
        "train": (TrainConfig, "train a network with one loss and evaluate it"),
        "compare": (CompareConfig, "train the same network with several losses and seeds"),
    }
    for name, (kind, text) in kinds.items():
        command = command_of(kind, {}, {"resume"})
        command.add_argument(
            "--resume", action="store_true", help="Continue the run in `out` where it stopped."
        )
        commands.add_subcommand(name, command, help=text)
    command = command_of(WeightsConfig, {"data": {"help": _DATA}}, set())
    commands.add_subcommand("weights", command, help="count the labels and weigh the classes")
    add_uses(commands)
    return parser


def _underscored(word: str) -> str:
    """--batch-size means --batch_size.

    >>> _underscored("--batch-size=4"), _underscored("cross-entropy")
    ('--batch_size=4', 'cross-entropy')
    """
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if name[:2] == "--" else word


def _train(config: TrainConfig, console: Console) -> int:
    if processes().first:
        check_free(config)
    show = counted(console)
    data = load_data(config, show)
    check_options(config, [config.loss])  # a wrong option shows before the folder is claimed
    network = network_for(config, data)
    check_processes(config, data, network)
    here = processes()
    config.threads = config.threads or max(1, cores() // here.local)
    meet(config)  # together they look at all files
    data = checked(data, show)
    fitting_loss(config, network, data)
    with claimed(config) if here.first else nullcontext(Path(config.out)) as out:
        _introduce(console, data)
        meet(config)
        complete = _train_and_test(config, data, console)
        if not here.first:
            return 0 if complete else INTERRUPTED
        finished = read_run(config)
        summary = summarise(config, data, [finished] if finished else [])
        return _conclude(config, out, summary, complete, console)


def _train_and_test(config: TrainConfig, data: DataSet, console: Console) -> bool:
    """Do what is left of a run; whether it is complete now."""
    with stop_on_signal() as stop, bars(console) as progress:
        bar = add_bar(progress, config.loss)

        def send(done: int, total: int, text: str) -> None:
            progress.update(bar, completed=done, total=total, text=text)

        try:
            train(config, data, throttled(send), stop)
            test(config, data, stop)
        except Interrupted:
            return False
    return True


def _compare(config: CompareConfig, console: Console) -> int:
    check_free(config)
    show = counted(console)
    data = checked(load_data(config, show), show)
    first = config.run(config.losses[0], config.learning_rates[0], config.seeds[0])
    check_options(config, config.losses)
    network = network_for(first, data)
    for loss in config.losses:
        fitting_loss(config.run(loss, first.lr, first.seed), network, data)
    with claimed(config) as out:
        _introduce(console, data)
        with stop_on_signal() as stop:
            complete = compare(config, stop, console, data)
        summary = summarise(config, data, finished_runs(config))
        return _conclude(config, out, summary, complete, console)


def _introduce(console: Console, data: DataSet) -> None:
    for line in (data.title, *data.notes):
        console.print(line, highlight=False, soft_wrap=True)
    if data.evaluated == "val":
        console.print("There is no test part: results are those of the validation part.")


def _conclude(
    config: TrainConfig | CompareConfig,
    out: Path,
    summary: Summary,
    complete: bool,
    console: Console,
) -> int:
    """Print the main table, write the report, and say how to go on."""
    command = "train" if isinstance(config, TrainConfig) else "compare"
    again = f"lovasz {command} --config {out / 'config.yaml'} --resume"
    # Before the report: whatever happens to that, what took hours is on the screen.
    if summary.losses:
        for table in _tables(summary):
            console.print(table)
    follows = headline(summary) if len(summary.losses) == 1 else consequence(summary)
    for sentence in filter(None, [*summary.diverged, follows, *notes(summary)]):
        console.print(sentence, highlight=False, soft_wrap=True)
    try:
        write_report(out / "report.html", config, summary, complete=complete)
    except Exception as error:
        raise UserError(
            f"{command}: the report could not be written ({type(error).__name__}: {error}); all"
            f" runs are kept in {out}, and this writes it without training again: {again}"
        ) from error
    console.print(f"Report: {out / 'report.html'}", highlight=False, soft_wrap=True)
    if complete:
        return 0 if summary.losses else DivergedError.status
    console.print(f"Interrupted. Continue with: {again}", highlight=False, soft_wrap=True)
    return INTERRUPTED


def _tables(summary: Summary) -> list[Table]:
    """The mIoU of each loss, and of several the differences to the first one."""
    losses = summary.losses
    columns = {
        "loss": [row.name for row in losses],
        "learning rate": [f"{row.lr:g}" for row in losses],
        "mIoU": [str(row.argmax.miou) for row in losses],
    }
    if summary.decided:
        columns["argmax"] = columns.pop("mIoU")
        columns["fitted offsets"] = [str(row.outcomes["fitted"].miou) for row in losses]
    columns["runs"] = [str(len(row.runs)) for row in losses]
    minus = {f"minus {losses[0].name}": [row.difference for row in losses]}
    found = [(f"mIoU on the {summary.part_name} part, in %", columns)]
    if len(losses) > 1 and not summary.decided:
        columns |= minus
    elif len(losses) > 1:
        pairs = {
            "loss": columns["loss"][1:],
            "argmax": [row.difference for row in losses[1:]],
            "fitted offsets": [row.decided_difference for row in losses[1:]],
        }
        found.append((f"Minus {losses[0].name}, paired by seed, in points", pairs))
    tables = []
    for title, cells in found:
        table = Table(title=title)
        for name in cells:
            table.add_column(name, justify="left" if name == "loss" else "right")
        for row in zip(*cells.values(), strict=True):
            table.add_row(*row)
        tables.append(table)
    return tables


def _quiet() -> None:
    """Only our own words on the screen."""
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # tensorboard looks for tensorflow
