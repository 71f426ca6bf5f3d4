from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lovasz.train.data import IGNORE
from lovasz.train.errors import UserError
from lovasz.train.losses import build_loss
from lovasz.train.model import build_model

FACTORIES = """
from torch import nn

class Returns(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, x):
        return self.change(x.repeat(1, 2, 1, 1)[:, :5])

class Broken(nn.Module):
    def forward(self, x):
        raise RuntimeError("no such layer")

def good(in_channels, num_classes, kernel=1):
    return nn.Conv2d(in_channels, num_classes, kernel, padding=kernel // 2)
def third(in_channels, num_classes): return Returns(lambda x: x[:, :, ::3, :7])
def single(in_channels, num_classes): return Returns(lambda x: x[:, :1, ::2, ::2])
def doubled(in_channels, num_classes): return Returns(lambda x: x.repeat(1, 1, 2, 1))
def nothing(in_channels, num_classes): return Returns(lambda x: x[:, :, :0])
def flat(in_channels, num_classes): return Returns(lambda x: x.flatten(2))
def several(in_channels, num_classes): return Returns(lambda x: (x[:, :, ::2], x, x[:, :2]))
def paired(in_channels, num_classes): return Returns(lambda x: (x, x.flatten(1)))
def broken(in_channels, num_classes): return Broken()
def text(in_channels, num_classes): return "a network"
def other(channels): return None
number = 3
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    (tmp_path / "factories.py").write_text(FACTORIES)
    (tmp_path / "damaged.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)  # a module in the current folder is found


@pytest.mark.usefixtures("factories")
def test_a_factory_of_the_user_gets_its_arguments(train_config):
    config = train_config(model="factories:good", model_args={"kernel": 3})
    assert build_model(config, 5)(torch.zeros(2, 3, 8, 8)).shape == (2, 5, 8, 8)


@pytest.mark.usefixtures("factories")
def test_logits_may_be_of_any_lower_resolution(train_config):
    model = build_model(train_config(model="factories:third", model_args={}), 5)
    assert model(torch.zeros(2, 3, 12, 12)).shape == (2, 5, 4, 7)


@pytest.mark.usefixtures("factories")
def test_in_evaluation_the_first_output_counts(train_config):
    model = build_model(train_config(model="factories:several", model_args={}), 5)
    assert not model.training


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_the_unet_has_half_the_resolution_and_the_loss_of_the_enlarged_logits(train_config, norm):
    config = train_config(norm=norm, loss="both")
    torch.manual_seed(5)
    model = build_model(config, 3).train()
    images, labels = torch.randn(2, 3, 12, 12), torch.randint(0, 3, (2, 12, 12))
    labels[0, :3] = IGNORE
    results = []
    for scale in (1, 2):
        logits = model(images)
        assert logits.shape == (2, 3, 6, 6)
        if scale == 2:  # as the network itself did it once
            logits = F.interpolate(logits, scale_factor=2, mode="bilinear")
        loss = build_loss(config, 3)(logits, labels)
        results.append((loss, *torch.autograd.grad(loss, model.parameters())))
    for ours, usual in zip(*results, strict=True):
        torch.testing.assert_close(ours, usual, rtol=1e-4, atol=1e-5)
    # Checkpoints of that time know the weights by these names.
    assert all(name.startswith("unet.model.") for name in model.state_dict())


@pytest.mark.usefixtures("factories")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "vnet"}, r"model: expected unet or package.module:factory, got vnet"),
        ({"model": "nowhere:net"}, r"model: cannot import nowhere: ModuleNotFoundError: No module"),
        ({"model": "damaged:net"}, r"model: cannot import damaged: .*no_such_package"),
        ({"model": "factories:net"}, r"model: expected a function net in factories, found .*good"),
        ({"model": "factories:number"}, r"model: expected a function number in factories, found"),
        ({"model": "factories:other"}, r"model: factories:other\(in_channels=3, .*TypeError"),
        ({"model": "factories:text"}, r"to return a torch.nn.Module, got str"),
        ({"model": "factories:broken"}, r"failed on an image of shape .*: no such layer"),
        (
            {"model": "factories:single"},
            r"to return logits of shape \(1, 5, h, w\), h and w from 1 to 12, for an image of shape"
            r" \(1, 3, 12, 12\), got \(1, 1, 6, 6\)",
        ),
        ({"model": "factories:doubled"}, r"h and w from 1 to 12, .*, got \(1, 5, 24, 12\)"),
        ({"model": "factories:nothing"}, r"h and w from 1 to 12, .*, got \(1, 5, 0, 12\)"),
        (
            {"model": "factories:flat"},
            r"return logits \(N, C, h, w\), a list .*, got \(1, 5, 144\)$",
        ),
        (
            {"model": "factories:paired"},
            r"return logits \(N, C, h, w\), a list .*, got \(1, 720\)$",
        ),
        ({"model": "unet", "model_args": {"depth": 3}}, r"model: unet\(.*depth=3\) failed: TypeE"),
        ({"model": "factories:good", "norm": "group"}, r"norm: expected batch with --model fact"),
        ({"model": "unet", "crop": 13}, r"model: unet failed on an image of shape \(1, 3, 13, 13"),
    ],
)
def test_errors_are_one_sentence(train_config, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        build_model(train_config(**{"model_args": {}, **changes}), 5)
    assert "\n" not in str(caught.value)


def test_equal_seeds_give_equal_weights(train_config):
    weights = []
    for _ in range(2):
        torch.manual_seed(4)
        weights.append(build_model(train_config(), 3).state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_with_group_normalisation_an_image_does_not_depend_on_its_batch(train_config):
    torch.manual_seed(3)
    images = torch.randn(3, 3, 12, 12)
    together = [build_model(train_config(norm=norm), 3).train() for norm in ("group", "batch")]
    for model, same in zip(together, (True, False), strict=True):
        assert torch.allclose(model(images)[:1], model(images[:1]), atol=1e-5) == same


def test_normalisations_have_the_same_initial_weights(train_config):
    weights = []
    for norm in ("batch", "group"):
        torch.manual_seed(4)
        weights.append(build_model(train_config(norm=norm), 3).state_dict())
    assert set(weights[1]) < set(weights[0])  # the running statistics are missing
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
