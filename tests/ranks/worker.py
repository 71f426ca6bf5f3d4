"""What each process of a group computes for the tests: losses, gradients and traffic, saved."""

from __future__ import annotations

import datetime
import os
import time
from itertools import pairwise

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import lovasz

CLASSES = 5
IMAGES = 7
SIDE = (6, 5)

MULTICLASS = {
    "softmax": lovasz.lovasz_softmax,
    "combined": lovasz.cross_entropy_lovasz_softmax,
}
CHANNELS = {
    "sigmoid": lovasz.lovasz_sigmoid,
    "hinge": lovasz.lovasz_hinge,
    "binary combined": lovasz.binary_cross_entropy_lovasz_sigmoid,
}
# Name, function and options of every loss that is shared out by images.
LOSSES = {
    **{name: (function, {"ignore_index": 255}) for name, function in MULTICLASS.items()},
    **{
        name: (function, {"ignore_index": 255, "multilabel": True})
        for name, function in CHANNELS.items()
    },
    "all classes": (lovasz.lovasz_softmax, {"ignore_index": 255, "classes": "all"}),
    "no reduction": (lovasz.lovasz_softmax, {"ignore_index": 255, "reduction": "none"}),
    "symmetric": (
        lovasz.lovasz_sigmoid,
        {"ignore_index": 255, "multilabel": True, "symmetric": True},
    ),
    "weighted": (
        lovasz.cross_entropy_lovasz_softmax,
        {"ignore_index": 255, "weight": [1.0, 2.0, 3.0, 4.0, 5.0], "label_smoothing": 0.1},
    ),
    "mean of images": (lovasz.lovasz_softmax, {"ignore_index": 255, "per_image": True}),
    "sum of images": (
        lovasz.lovasz_softmax,
        {"ignore_index": 255, "per_image": True, "reduction": "sum"},
    ),
    # Losses by sums, and soft labels, are sums of floating numbers.
    "dice": (lovasz.dice_loss, {"ignore_index": 255, "classes": "foreground"}),
    "dice of images": (lovasz.dice_loss, {"ignore_index": 255, "per_image": True}),
    "jaccard metric, smoothed": (
        lovasz.jaccard_metric_loss,
        {"ignore_index": 255, "label_smoothing": 0.1, "classes": "present"},
    ),
    "dice, generalized": (lovasz.generalized_dice_loss, {"ignore_index": 255}),
    "dice and entropy": (lovasz.cross_entropy_dice, {"ignore_index": 255, "squared": True}),
    "dice, several means of images": (
        lovasz.dice_loss,
        {"ignore_index": 255, "averaging": {"dataset": 1.0, "class": 0.5}, "pooled": True},
    ),
    "dice and binary entropy": (
        lovasz.binary_cross_entropy_dice,
        {"ignore_index": 255, "multilabel": True},
    ),
    "softmax, smoothed": (lovasz.lovasz_softmax, {"ignore_index": 255, "label_smoothing": 0.1}),
}


def batch(channels=False, seed=0):
    """Logits and labels of the global batch; images 2 and 3 are ignored, class 4 is in image 0."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(IMAGES, CLASSES, *SIDE, generator=generator)
    shape = (IMAGES, CLASSES, *SIDE) if channels else (IMAGES, *SIDE)
    target = torch.randint(2 if channels else CLASSES - 1, shape, generator=generator)
    target[2:4] = 255
    if not channels:
        target[0, 0] = CLASSES - 1
    return logits, target


def share(rank, size, count=IMAGES):
    """The slice of a rank: uneven, with a rank that has nothing from four ranks on."""
    cuts = {1: [0, 7], 2: [0, 2, 7], 3: [0, 2, 4, 7], 4: [0, 2, 4, 4, 7]}[size]
    at = [cut * count // IMAGES for cut in cuts]
    return [slice(start, stop) for start, stop in pairwise(at)][rank]


def value_and_gradient(function, logits, target, **options):
    logits = logits.clone().requires_grad_()
    loss = function(logits, target, **options)
    return loss.detach(), torch.autograd.grad(loss.sum(), logits)[0]


def losses_of_images(mine, group):
    found = {}
    for name, (function, options) in LOSSES.items():
        logits, target = batch(channels="multilabel" in options)
        found[name] = value_and_gradient(
            function, logits[mine], target[mine], process_group=group, **options
        )
    return found


def points(rank, size, group):
    """Points instead of images, with weights, split anywhere."""
    logits, target, weight = cloud()
    mine = share(rank, size, len(target))
    return value_and_gradient(
        lovasz.lovasz_softmax,
        logits[mine],
        target[mine],
        pixel_weight=weight[mine],
        process_group=group,
    )


def cloud():
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(700, CLASSES, generator=generator),
        torch.randint(CLASSES, (700,), generator=generator),
        torch.rand(700, generator=generator),
    )


def window(mine, group):
    criterion = lovasz.LovaszSoftmaxLoss(ignore_index=255, momentum=0.5, process_group=group)
    losses = []
    for seed in range(3):
        logits, target = batch(seed=seed)
        losses.append(value_and_gradient(criterion, logits[mine], target[mine]))
    return losses, criterion.state_dict()


def invalid(rank, mine, group):
    """A number that is none on one rank."""
    logits, target = batch()
    logits[0, 0, 0, 0] = torch.nan
    return value_and_gradient(
        lovasz.cross_entropy_lovasz_softmax,
        logits[mine],
        target[mine],
        ignore_index=255,
        process_group=group,
    )[0]


def at_odds(rank, mine, group):
    """Weights of pixels on one rank only."""
    logits, target = batch()
    weight = torch.ones(target[mine].shape) if rank == 0 else None
    return lovasz.lovasz_softmax(
        logits[mine], target[mine], ignore_index=255, pixel_weight=weight, process_group=group
    )


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, CLASSES, 1))


def pictures():
    return torch.randn(IMAGES, 3, *SIDE, generator=torch.Generator().manual_seed(2))


def step(model, mine, group):
    """The gradient of a training step, as the optimiser gets it."""
    criterion = lovasz.CrossEntropyLovaszSoftmaxLoss(ignore_index=255, process_group=group)
    criterion(model(pictures()[mine]), batch()[1][mine]).backward()
    return [
        gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
        for gradient in (parameter.grad for parameter in model.parameters())
    ]


def sharded(model):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    return fully_shard(model, mesh=init_device_mesh("cpu", (distributed.get_world_size(),)))


def plain_sum(mine, size, group):
    """Gradients added up without a wrapper: the loss is divided by the number of ranks."""
    model = network()
    criterion = lovasz.CrossEntropyLovaszSoftmaxLoss(ignore_index=255, process_group=group)
    (criterion(model(pictures()[mine]), batch()[1][mine]) / size).backward()
    for parameter in model.parameters():
        distributed.all_reduce(parameter.grad)
    return [parameter.grad for parameter in model.parameters()]


def traffic(mine, group):
    """Bytes that a step of both losses hands to all_reduce."""
    sent = []
    original = distributed.all_reduce

    def spy(tensor, *args, **kwargs):
        sent.append(tensor.nbytes)
        return original(tensor, *args, **kwargs)

    logits, target = batch()
    distributed.all_reduce = spy
    try:
        for function in MULTICLASS.values():
            value_and_gradient(
                function, logits[mine], target[mine], ignore_index=255, process_group=group
            )
    finally:
        distributed.all_reduce = original
    return sent


def compiled(mine, group):
    def both(logits, target):
        return lovasz.cross_entropy_lovasz_softmax(
            logits, target, ignore_index=255, process_group=group
        )

    logits, target = batch()
    function = torch.compile(both, fullgraph=True, backend="aot_eager")
    return value_and_gradient(function, logits[mine], target[mine])


def checkpointed(mine, group):
    criterion = lovasz.LovaszSoftmaxLoss(ignore_index=255, momentum=0.5, process_group=group)
    logits, target = batch()
    return value_and_gradient(
        lambda x, y: checkpoint(criterion, x, y, use_reentrant=False), logits[mine], target[mine]
    )


def run(rank, size, folder):
    """All of the above on one rank."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=120),
    )
    group, mine = distributed.group.WORLD, share(rank, size)
    found = {
        "losses": losses_of_images(mine, group),
        "points": points(rank, size, group),
        "window": window(mine, "world"),
        "invalid": invalid(rank, mine, group),
        "at odds": at_odds(rank, mine, group),
        "data parallel": step(DistributedDataParallel(network()), mine, group),
        "sharded": step(sharded(network()), mine, group),
        "sum": plain_sum(mine, size, group),
        "traffic": traffic(mine, group),
        "compiled": compiled(mine, group) if size == 2 else None,  # it takes seconds
        "checkpointed": checkpointed(mine, group),
    }
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()  # gloo may abort where one leaves early
    distributed.destroy_process_group()


def run_and_fail(rank, size, folder):
    """The last rank has a label that is none and stays away; the others say what they see."""
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=3),
    )
    logits, target = batch()
    target[0] = 77 if rank == size - 1 else 0
    try:
        lovasz.lovasz_softmax(logits, target, ignore_index=255, process_group="world")
        message = "no error"
    except (RuntimeError, ValueError) as error:
        message = str(error)
    torch.save(message, f"{folder}/{rank}.pt")
    if rank == size - 1:
        time.sleep(6)
    os._exit(0)  # a group that has failed cannot be left in order
