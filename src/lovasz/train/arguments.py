"""What every sub-command of `lovasz` has: its description, a YAML file, and its options."""

from __future__ import annotations

from typing import Any

from jsonargparse import ActionConfigFile, ArgumentParser


def command_of(kind: type, positional: dict[str, dict[str, Any]], others: set[str]) -> Any:
    """The parser of a sub-command.

    Args:
        kind: Class of its options.
        positional: Those without a name, and how the parser takes them.
        others: Options that are added by hand.
    """
    command = ArgumentParser(description=(kind.__doc__ or "").split("\n\n    Args:")[0])
    command.add_argument("--config", action=ActionConfigFile, help="YAML file with options.")
    for name, how in positional.items():
        command.add_argument(name, **how)
    command.add_class_arguments(kind, skip={*positional, *others})
    return command
