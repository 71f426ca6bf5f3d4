"""nnU-Net finds the trainers by name and trains with them; its own loss is the one to compare."""

import importlib
import itertools
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch

import lovasz
from lovasz.integrations import nnunet_trainers
from tests.processes import start_processes
from tests.stacks import nnunet_case as case

own = pytest.importorskip("nnunetv2.training.nnUNetTrainer.nnUNetTrainer").nnUNetTrainer
integration = pytest.importorskip("lovasz.integrations.nnunet")
finder = pytest.importorskip("nnunetv2.utilities.find_objects")

DICE, LOVASZ = integration.nnUNetTrainerDiceCEFused, integration.nnUNetTrainerLovaszCE
KINDS = [
    dict(zip(("batch_dice", "regions", "ignored", "deep"), values, strict=True))
    for values in itertools.product([True, False], repeat=4)
]
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def folders(tmp_path):
    before = dict(os.environ)
    case.use_folders(tmp_path)
    yield
    os.environ.clear()
    os.environ.update(before)


def name_of(options):
    return ", ".join(key for key, value in options.items() if value) or "plain"


def draw(kind, **options):
    logits, targets = case.draw(kind["regions"], kind["ignored"], **options)
    return (logits, targets) if kind["deep"] else (logits[:1], targets[:1])


def same(got, want, rtol=1e-5, atol=1e-7):
    torch.testing.assert_close(got[0].float(), want[0].float(), rtol=rtol, atol=rtol)
    for one, other in zip(got[1], want[1], strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=rtol, atol=atol)


@pytest.fixture
def importable(monkeypatch):
    """All of nnU-Net's own trainers: those of transformers need timm, and that torchvision."""
    path = "dynamic_network_architectures.architectures.primus"
    try:
        importlib.import_module(path)
    except ImportError:
        names = [f"Primus{kind}" for kind in ("", "V2S", "V2B", "V2M", "V2L")]
        module = ModuleType(path)
        vars(module).update(dict.fromkeys(names, object))
        monkeypatch.setitem(sys.modules, path, module)


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("name", ["nnUNetTrainerLovaszCE", "nnUNetTrainerDiceCEFused"])
def test_a_trainer_is_found_by_name(name, monkeypatch):
    with pytest.raises(RuntimeError, match=name):
        finder.recursive_find_trainer_class_by_name(name)
    (folder,) = nnunet_trainers.__path__
    monkeypatch.setenv("nnUNet_extTrainer", folder)
    assert finder.recursive_find_trainer_class_by_name(name) is getattr(integration, name)
    assert "lovasz_trainers" not in sys.modules  # nnU-Net forgets what it imports from a folder


def test_the_page():
    """Its command names the folder, and its trainer is one."""
    page = (Path(__file__).parents[2] / "docs" / "stacks" / "nnunet.md").read_text()
    shell, block = re.findall(r"```text\n(.*?)```", page, re.S)
    code = re.search(r'python -c "(.*?)"', shell)[1]
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == nnunet_trainers.__path__[0]
    names = {}
    exec(block, names)
    loss = case.trainer(names["nnUNetTrainerLovaszHalf"], batch_dice=False)._build_loss()
    (inner,) = loss.loss.losses
    assert (inner.lovasz_weight, inner.per_image) == (0.5, False)


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_dice_and_cross_entropy_are_those_of_nnunet(kind):
    logits, targets = draw(kind)
    got, want = (case.trainer(one, **kind)._build_loss() for one in (DICE, own))
    same(case.values(got, logits, targets), case.values(want, logits, targets))


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_lovasz_and_cross_entropy(kind):
    logits, targets = draw(kind)
    weights = [2 / 3, 1 / 3, 0.0] if kind["deep"] else [1.0]
    per_image = not kind["batch_dice"]

    def direct(x, y):
        if not kind["regions"]:
            ignored = case.IGNORED if kind["ignored"] else None
            return lovasz.cross_entropy_lovasz_softmax(
                x, y[:, 0], ignore_index=ignored, per_image=per_image
            )
        mask = y[:, 2:].expand(x.shape) if kind["ignored"] else None
        return lovasz.binary_cross_entropy_lovasz_sigmoid(
            x, y[:, :2].int(), multilabel=True, ignore_mask=mask, per_image=per_image
        )

    def expected(x, y):
        xs, ys = (x, y) if kind["deep"] else ([x], [y])
        return sum(w * direct(*pair) for w, *pair in zip(weights, xs, ys, strict=True) if w)

    loss = case.trainer(LOVASZ, **kind)._build_loss()
    got = case.values(loss, logits, targets)
    same(got, case.values(expected, logits, targets))
    assert got[1][0].any()


@pytest.mark.parametrize("regions", [False, True])
def test_nothing_is_left(regions):
    kind = {"regions": regions, "ignored": True, "deep": True, "batch_dice": True}
    logits, targets = draw(kind)
    if regions:
        targets = [torch.cat([y[:, :2], torch.ones_like(y[:, 2:])], 1) for y in targets]
    else:
        targets = [torch.full_like(y, case.IGNORED) for y in targets]
    for images in (2, 0):
        inputs = [x[:images] for x in logits], [y[:images] for y in targets]
        for one, value in ((DICE, -1.0), (LOVASZ, 0.0)):  # -1 is nnU-Net's
            got = case.values(case.trainer(one, **kind)._build_loss(), *inputs)
            assert got[0] == value
            assert not any(gradient.any() for gradient in got[1])
    want = case.values(case.trainer(own, **kind)._build_loss(), logits, targets)
    torch.testing.assert_close(want[0], torch.tensor(-1.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("one", [DICE, LOVASZ])
def test_logits_of_16_bits(one, dtype):
    kind = {"regions": False, "ignored": True, "deep": True, "batch_dice": True}
    logits, targets = draw(kind)
    logits = [x.to(dtype) for x in logits]
    loss = case.trainer(one, **kind)._build_loss()
    with torch.autocast("cpu", dtype):
        got = case.values(loss, logits, targets)
    assert got[0].dtype == torch.float32
    assert got[1][0].dtype == dtype
    want = case.values(loss, [x.float() for x in logits], targets)
    same(got, want, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("regions", [False, True])
def test_compiles_whole(regions):
    kind = {"regions": regions, "ignored": True, "deep": True, "batch_dice": True}
    logits, targets = draw(kind)
    loss = case.trainer(LOVASZ, **kind)._build_loss()
    whole = torch.compile(loss, fullgraph=True, backend="aot_eager")
    same(case.values(whole, logits, targets), case.values(loss, logits, targets))


def test_further_options():
    class Mine(LOVASZ):
        loss_options: ClassVar[dict[str, Any]] = {
            "lovasz_weight": 0.5,
            "weight": [1.0, 2.0, 3.0],
            "per_image": False,
        }

    kind = {"regions": False, "ignored": False, "deep": False, "batch_dice": False}
    logits, targets = draw(kind)
    got = case.values(case.trainer(Mine, **kind)._build_loss(), logits, targets)
    criterion = lovasz.CrossEntropyLovaszSoftmaxLoss(**Mine.loss_options)
    same(got, case.values(lambda x, y: criterion(x, y[:, 0]), logits, targets))


def test_a_window_does_not_count_what_is_validated():
    class Mine(LOVASZ):
        loss_options: ClassVar[dict[str, Any]] = {"momentum": 0.9}

    kind = {"regions": False, "ignored": False, "deep": True, "batch_dice": True}
    logits, targets = draw(kind)
    loss, other = (case.trainer(Mine, **kind)._build_loss() for _ in range(2))
    for one in (loss, other):
        case.values(one, logits, targets)
    with torch.no_grad():
        other([x.flip(1) for x in logits], targets)
    same(case.values(loss, logits, targets), case.values(other, logits, targets))


@pytest.mark.parametrize("one", [DICE, LOVASZ])
def test_training(one, tmp_path):
    """Two iterations of nnU-Net's loop, with its loader and augmentation, and one of validation."""
    case.preprocessed(tmp_path, ignored=True)
    trainer = case.trainer(one, ignored=True)
    trainer.num_epochs, trainer.num_iterations_per_epoch = 1, 2
    trainer.num_val_iterations_per_epoch = 1
    trainer.initialize()
    before = [parameter.detach().clone() for parameter in trainer.network.parameters()]
    trainer.run_training()
    after = dict(trainer.network.named_parameters())
    unmoved = [
        name
        for (name, now), then in zip(after.items(), before, strict=True)
        if not (now != then).any()
    ]
    # The scale of weight 0; biases before a normalization have no gradient either.
    assert all("seg_layers.0" in name or name.endswith(".conv.bias") for name in unmoved)
    assert len(unmoved) < len(before) / 2
    checkpoint = torch.load(
        Path(trainer.output_folder) / "checkpoint_final.pth", weights_only=False
    )
    assert checkpoint["trainer_name"] == one.__name__
    assert checkpoint["logging"]["train_losses"][0] < 5
    assert json.loads((Path(trainer.output_folder_base) / "plans.json").read_text())


@pytest.mark.parametrize("regions", [False, True])
def test_two_processes(tmp_path, regions):
    options = {"regions": regions, "ignored": False, "batch_dice": True, "deep": True}
    names = ["nnUNetTrainer", DICE.__name__, LOVASZ.__name__]
    start_processes(case.run, (2, str(tmp_path), names, options), 2)
    ranks = [pickle.loads((tmp_path / f"{rank}.pkl").read_bytes()) for rank in range(2)]

    def mean(name):
        """The mean of the values, and the gradients of all images as DDP takes their mean."""
        parts = [found[name] for found in ranks]
        scales = zip(*(gradients for _, gradients in parts), strict=True)
        gradients = [torch.stack(both, 1).flatten(0, 1) / 2 for both in scales]
        return sum(value for value, _ in parts) / 2, gradients

    # nnU-Net gives the smallest scale a weight of 1e-6 here.
    same(mean(DICE.__name__), mean("nnUNetTrainer"), rtol=1e-4, atol=1e-7)
    logits, targets = case.draw(regions, images=4)
    alone = case.values(case.trainer(LOVASZ, regions=regions)._build_loss(), logits, targets)
    same(mean(LOVASZ.__name__), alone)
