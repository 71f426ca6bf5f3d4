"""The commands that use a trained network: `lovasz predict`, `evaluate` and `export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lovasz.train.arguments import command_of
from lovasz.train.errors import UserError
from lovasz.train.evaluation import EvaluateConfig, evaluation
from lovasz.train.export import ExportConfig, export
from lovasz.train.predict import PredictConfig, predict
from lovasz.train.processes import processes

if TYPE_CHECKING:
    from rich.console import Console

_KINDS: dict[str, tuple[type, str]] = {
    "predict": (PredictConfig, "predict masks of images with a trained network"),
    "evaluate": (EvaluateConfig, "evaluate a trained network on images with masks"),
    "export": (ExportConfig, "write a trained network as one file"),
}
USES = tuple(_KINDS)
_RUN = "Folder of a run, or its checkpoint.pt. (type: str)"
_IMAGES = 'Image files, folders with all below them, or patterns as "photos/**/*.jpg". (type: str)'
_DATA = (
    "landcover, scenes or a folder with images and masks; by default that of the run (type: str)"
)


def add_uses(commands: Any) -> None:
    """Add the sub-commands with their options."""
    for name, (kind, text) in _KINDS.items():
        positional: dict[str, dict[str, Any]] = {"run": {"help": _RUN}}
        if name == "predict":
            positional["images"] = {"nargs": "+", "help": _IMAGES}
        if name == "evaluate":
            positional["data"] = {"nargs": "?", "help": _DATA}
        commands.add_subcommand(name, command_of(kind, positional, set()), help=text)


def use(name: str, given: dict[str, Any], console: Console) -> int:
    """Do what a sub-command asks for; returns the exit status.

    Args:
        name: One of USES.
        given: The options that the user has given.
        console: Where to print.

    Raises:
        UserError: If something does not fit.
    """
    if processes().size > 1:
        raise UserError(f"{name}: expected one process, got torchrun")
    if name == "predict":
        return predict(PredictConfig(**given), console)
    if name == "evaluate":
        return evaluation(given, console)
    return export(ExportConfig(**given), console)
