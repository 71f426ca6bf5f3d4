"""Processes for tests: they are forked from one that has imported torch, which takes seconds."""

from torch import multiprocessing


def start_processes(function, arguments, number):
    """Run a function in so many processes, with its rank first, and wait for them."""
    multiprocessing.set_forkserver_preload([function.__module__])
    multiprocessing.start_processes(function, arguments, number, start_method="forkserver")
