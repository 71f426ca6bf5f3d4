"""The study: losses and decisions compared on several data sets, with equal tuning."""

from benchmarks.study.command import main

__all__ = ["main"]
