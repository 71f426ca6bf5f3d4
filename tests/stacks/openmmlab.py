"""What the tests of mmsegmentation share, and what two processes of it compute.

mmcv's compiled operations are built on each machine, for minutes. Where they are missing (the
package mmcv-lite), mmsegmentation can be imported with a stand-in that has their names, and every
head that calls none of them runs: it is its own code that is tested.
"""

import datetime
import importlib.util
import sys
from types import ModuleType

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel


class Operations(ModuleType):
    """Has an operation of every name, which raises."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_, **__):
            raise NotImplementedError(name)

        return missing


if importlib.util.find_spec("mmcv") and not importlib.util.find_spec("mmcv._ext"):
    sys.modules["mmcv._ext"] = Operations("mmcv._ext")

CLASSES, SIZE = 5, (32, 48)
HEAD = {"channels": 8, "num_classes": CLASSES, "in_channels": 8, "dropout_ratio": 0.0}


def samples(labels):
    """Labels (N, H, W) as a head gets them."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    shapes = {"ori_shape": SIZE, "img_shape": SIZE}
    return [SegDataSample(gt_sem_seg=PixelData(data=one[None]), metainfo=shapes) for one in labels]


def draw(images=2):
    """Features of a quarter of the resolution, and labels of which some are ignored."""
    torch.manual_seed(0)
    labels = torch.randint(CLASSES - 1, (images, *SIZE))
    labels[:, :7] = 255
    labels[-1, :20] = 255
    return torch.randn(images, 8, 8, 12), labels


def build(**config):
    """A head, always with the same parameters."""
    from mmseg.registry import MODELS

    import lovasz.integrations.mmseg  # noqa: F401 (which registers)

    torch.manual_seed(1)
    return MODELS.build({"type": "FCNHead", "num_convs": 1, **HEAD, **config})


def step(head, features, labels):
    """Loss and gradients of all parameters."""
    module = head.module if isinstance(head, DistributedDataParallel) else head
    loss = sum(
        value
        for name, value in module.loss_by_feat(head([features]), samples(labels)).items()
        if "loss" in name
    )
    loss.backward()
    return loss.detach(), [parameter.grad.clone() for parameter in module.parameters()]


def run(rank, size, folder, config):
    """A step on this process's images, saved."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=120),
    )
    features, labels = draw(4)
    mine = slice(rank, None, size)
    head = DistributedDataParallel(build(**config))
    torch.save(step(head, features[mine], labels[mine]), f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
