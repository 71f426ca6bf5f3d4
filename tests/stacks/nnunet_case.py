"""A data set of nnU-Net, plans for it, and what two processes compute of them."""

import datetime
import json
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.nn import functional as F

SIZE, SCALES = (8, 32, 32), ((1, 1, 1), (2, 2, 2), (2, 2, 2))
STEPS = [(1, 1, 1), (2, 2, 2), (2, 2, 2), (1, 2, 2)]
CLASSES = {"background": 0, "organ": 1, "tumour": 2}
REGIONS = {"background": 0, "whole": [1, 2], "tumour": [2]}
IGNORED = 3


def plans(batch_dice):
    """As nnU-Net plans a volume, with a network of few channels."""
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    kinds = ("data", "seg", "probabilities")
    configuration = {
        "data_identifier": "tiny",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(SIZE),
        "median_image_size_in_voxels": list(SIZE),
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        **{f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in kinds},
        **{f"resampling_fn_{kind}_kwargs": resampling for kind in kinds},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 4,
                "features_per_stage": [4, 8, 8, 8],
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * 4,
                "strides": [list(step) for step in STEPS],
                "n_conv_per_stage": [1] * 4,
                "n_conv_per_stage_decoder": [1] * 3,
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": batch_dice,
    }
    return {
        "dataset_name": "Dataset001_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": list(SIZE),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {},
        "continue_training": False,
    }


def dataset(regions, ignored):
    """What a dataset.json says."""
    labels = dict(REGIONS if regions else CLASSES)
    if ignored:
        labels["ignore"] = IGNORED
    order = {"regions_class_order": [1, 2]} if regions else {}
    named = {"channel_names": {"0": "MRI"}, "file_ending": ".nii.gz", "numTraining": 4}
    return {**named, "labels": labels, **order}


def use_folders(folder):
    """nnU-Net's folders, and no processes of its own."""
    folders = {name: str(folder) for name in ("raw", "preprocessed", "results")}
    os.environ.update({f"nnUNet_{name}": path for name, path in folders.items()})
    os.environ.update(nnUNet_compile="0", nnUNet_n_proc_DA="0", nnUNet_def_n_proc="1")


def trainer(kind, *, batch_dice=True, regions=False, ignored=False, deep=True):
    """A trainer with its own network and without data."""
    found = kind(
        plans(batch_dice), "3d_fullres", "all", dataset(regions, ignored), torch.device("cpu")
    )
    found.enable_deep_supervision = deep
    return found


def draw(regions=False, ignored=False, images=2, sizes=SIZE):
    """Logits and labels of all scales, as the network and the loader give them."""
    torch.manual_seed(0)
    labels = torch.randint(3, (images, 1, *sizes))
    if ignored:
        labels[:, :, :2] = IGNORED
    logits, targets = [], []
    for scale in SCALES:
        sizes = tuple(size // step for size, step in zip(sizes, scale, strict=True))
        small = F.interpolate(labels.float(), size=sizes, mode="nearest-exact").to(torch.int16)
        targets.append(as_regions(small, ignored) if regions else small)
        logits.append(2 * torch.randn(images, 2 if regions else 3, *sizes))
    return logits, targets


def as_regions(labels, ignored):
    """Masks that may overlap, and one of what is ignored."""
    masks = [(labels == 1) | (labels == 2), labels == 2]
    return torch.cat([*masks, labels == IGNORED] if ignored else masks, 1)


def values(loss, logits, targets):
    """Value, and gradients of all scales with zeros where there is none."""
    logits = [one.detach().requires_grad_() for one in logits]
    deep = len(logits) > 1
    value = loss(logits if deep else logits[0], targets if deep else targets[0])
    gradients = torch.autograd.grad(value, logits, allow_unused=True)
    pairs = zip(gradients, logits, strict=True)
    return value.detach(), [torch.zeros_like(x) if one is None else one for one, x in pairs]


def preprocessed(folder, ignored):
    """Four volumes as nnU-Net keeps them."""
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    base = Path(folder) / "Dataset001_Tiny"
    (base / "tiny").mkdir(parents=True)
    (base / "dataset_fingerprint.json").write_text("{}")
    (base / "dataset.json").write_text(json.dumps(dataset(False, ignored)))
    (base / "nnUNetPlans.json").write_text(json.dumps(plans(True)))
    rng = np.random.default_rng(0)
    for k in range(4):
        labels = np.zeros((1, *SIZE), np.int16)
        labels[0, 2:6, 4:20, 4 + k : 20] = 1
        labels[0, 3:7, 20:28, 8:20] = 2
        if ignored:
            labels[0, :1] = IGNORED
        image = (labels + rng.normal(size=labels.shape)).astype(np.float32)
        places = {k: np.argwhere(labels == k)[:50] for k in (1, 2)}
        places[(-1, 0, 1, 2)] = np.argwhere(labels < IGNORED)[:50]
        chunks = {"chunks": (1, *SIZE), "blocks": (1, *SIZE)}
        nnUNetDatasetBlosc2.save_case(
            image, labels, {"class_locations": places}, str(base / "tiny" / f"case_{k}"), **chunks
        )


def run(rank, size, folder, names, options):
    """Losses of this process's images with nnU-Net's own trainer and with others, saved."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=120),
    )
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    import lovasz.integrations.nnunet as integration

    use_folders(folder)
    logits, targets = draw(options["regions"], options["ignored"], images=4)
    mine = slice(rank, None, size)
    found = {}
    for name in names:
        kind = getattr(integration, name, nnUNetTrainer)
        loss = trainer(kind, **options)._build_loss()
        found[name] = values(loss, [x[mine] for x in logits], [y[mine] for y in targets])
    with open(f"{folder}/{rank}.pkl", "wb") as file:
        pickle.dump(found, file)
    distributed.barrier()
    distributed.destroy_process_group()
