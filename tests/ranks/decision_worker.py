"""What each of two processes fits for the tests, from its share of the images."""

from __future__ import annotations

import torch
from torch import distributed

from lovasz import DecisionFit
from tests.decisions.data import drawn

#: Options of each fit, and the share of the first process: uneven, and one without an image.
FITS = {
    "all pixels": ({}, 9),
    "a sample": ({"max_pixels": 200}, 4),
    "masks": ({"multilabel": True}, 9),
    "no image": ({}, 0),
}


def images():
    logits, labels = drawn((12, 9, 8), 3)
    one_hot = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
    return logits, labels, one_hot


def fit(options, share, group=None):
    logits, labels, one_hot = images()
    found = DecisionFit(3, process_group=group, **options)
    if share != slice(0, 0):
        target = one_hot if options.get("multilabel") else labels
        found.update(logits[share], target[share])
    return found.compute().state_dict()


def run(rank, folder):
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    found = {}
    for name, (options, cut) in FITS.items():
        share = slice(0, cut) if rank == 0 else slice(cut, 12)
        found[name] = fit(options, share, "world")
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()  # gloo may abort where one leaves early
    distributed.destroy_process_group()
