"""What stands in for frameworks that no package index has: the part of their interface we meet.

Pointcept is no package, and mmdetection3d needs what has to be compiled for a device. Their
registries build from a dict whose "type" is the name, and that is all that is needed here.
"""

import datetime
import importlib
import sys
from types import ModuleType

import pytest
import torch
from torch import distributed, nn

from tests.gradients import value_and_gradient


class Registry:
    """Classes by name."""

    def __init__(self):
        self.known = {}

    def register_module(self, name=None, force=False, module=None):
        def register(made):
            key = name or made.__name__
            if not force and key in self.known:
                raise KeyError(f"{key} is already registered")
            self.known[key] = made
            return made

        return register if module is None else register(module)

    def get(self, name):
        return self.known.get(name)

    def build(self, config):
        config = dict(config)
        return self.known[config.pop("type")](**config)


class Criteria:
    """No module, as Pointcept's."""

    registry: Registry

    def __init__(self, configs):
        self.criteria = [self.registry.build(config) for config in configs]

    def __call__(self, pred, target):
        return sum(criterion(pred, target) for criterion in self.criteria)


class DefaultSegmentorV2(nn.Module):
    """As Pointcept's, of networks that return features."""

    def __init__(self, num_classes, backbone_out_channels, backbone=None, criteria=None):
        super().__init__()
        self.seg_head = nn.Linear(backbone_out_channels, num_classes)
        self.backbone = self.models.build(backbone)
        self.criteria = Criteria(criteria)

    def forward(self, input_dict, return_point=False):
        seg_logits = self.seg_head(self.backbone(input_dict))
        loss = self.criteria(seg_logits, input_dict["segment"])
        if self.training:
            return {"loss": loss}
        return {"loss": loss, "seg_logits": seg_logits}


def pointcept():
    """Modules of Pointcept by their paths, at commit d74c646 of 2026-04-07."""
    models, losses = Registry(), Registry()
    criteria = type("Criteria", (Criteria,), {"registry": losses})
    Criteria.registry = losses
    DefaultSegmentorV2.models = models
    models.register_module(module=DefaultSegmentorV2)
    return {
        "pointcept": {},
        "pointcept.models": {},
        "pointcept.models.builder": {"MODELS": models, "build_model": models.build},
        "pointcept.models.losses": {},
        "pointcept.models.losses.builder": {"LOSSES": losses, "build_criteria": criteria},
    }


def criteria_of_ranks(rank, size, folder, config):
    """Value and gradient of this process's points, saved."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=120),
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        integration("pointcept", pointcept, monkeypatch)
        losses = importlib.import_module("pointcept.models.losses.builder")
        criteria = losses.build_criteria([config])
        logits, labels = (one[rank::size] for one in torch.load(f"{folder}/points.pt"))
        found = value_and_gradient(lambda x: criteria(x, labels), logits)
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


class SegmentationHead(nn.Module):
    """As mmdetection3d's ``Base3DDecodeHead``: scores (B, C, N) and labels (B, N)."""

    models: Registry

    def __init__(self, loss_decode, ignore_index=255):
        super().__init__()
        self.loss_decode = self.models.build(loss_decode)
        self.ignore_index = ignore_index
        self.conv_seg = nn.Conv1d(8, 5, 1)

    def loss_by_feat(self, seg_logit, batch_data_samples):
        seg_label = torch.stack([sample.pts_semantic_mask for sample in batch_data_samples])
        loss = self.loss_decode(seg_logit, seg_label, ignore_index=self.ignore_index)
        return {"loss_sem_seg": loss}


def mmdet3d():
    """Modules of mmdetection3d 1.4 by their paths."""
    SegmentationHead.models = Registry()
    return {"mmdet3d": {}, "mmdet3d.registry": {"MODELS": SegmentationHead.models}}


def integration(name, modules, monkeypatch):
    """The module of lovasz.integrations, imported where the framework or its stand-in is."""
    try:
        return importlib.import_module(f"lovasz.integrations.{name}"), True
    except ImportError:
        pass
    for path, contents in modules().items():
        module = ModuleType(path)
        module.__path__ = []
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, path, module)
    monkeypatch.delitem(sys.modules, f"lovasz.integrations.{name}", raising=False)
    found = importlib.import_module(f"lovasz.integrations.{name}")
    monkeypatch.delitem(sys.modules, f"lovasz.integrations.{name}")
    return found, False
