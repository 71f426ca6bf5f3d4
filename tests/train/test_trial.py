"""Networks with several outputs, from the trial before a run to the checkpoint after it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lovasz import DeepSupervision, LovaszSoftmaxLoss
from lovasz.train.commands import run as command
from lovasz.train.data import DataSet, load_data
from lovasz.train.errors import UserError
from lovasz.train.evaluate import Interrupted
from lovasz.train.loop import train
from lovasz.train.losses import build_loss, loss_of, set_epoch
from lovasz.train.model import build_model
from lovasz.train.trial import _in_training, fitting_loss
from tests.train.test_loop import StopAfter, assert_same, outcome, quiet, run

FACTORIES = """
from collections import OrderedDict
from types import SimpleNamespace

import torch
from monai.networks.nets import DynUNet, SegResNetDS
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self, channels, classes, change):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Dropout(0.5), nn.ReLU()
        )
        self.main, self.aux = (nn.Conv2d(6, classes, 1) for _ in range(2))
        self.change = change

    def forward(self, x):
        x = self.body(x)
        return self.change(self, self.main(x), F.avg_pool2d(self.aux(x), 4))


def tuples(in_channels, num_classes):
    return Net(in_channels, num_classes, lambda net, a, b: (a, b) if net.training else a)

def torchvision(in_channels, num_classes):
    return Net(in_channels, num_classes, lambda net, a, b: OrderedDict(out=a, aux=b))

def transformers(in_channels, num_classes):
    return Net(in_channels, num_classes, lambda net, a, b: SimpleNamespace(logits=b + 0 * a.mean()))

def single(in_channels, num_classes):
    return Net(in_channels, num_classes, lambda net, a, b: a)

def monai(in_channels, num_classes):
    return DynUNet(2, in_channels, num_classes, [3, 3, 3], [1, 2, 2], [2, 2], filters=[4, 4, 8],
                   deep_supervision=True, deep_supr_num=1)

def listed(in_channels, num_classes):
    return SegResNetDS(2, 4, in_channels, num_classes, blocks_down=(1, 1, 1), dsdepth=2,
                       norm=("GROUP", {"num_groups": 4}))

def narrow(in_channels, num_classes):
    return Net(in_channels, num_classes, lambda net, a, b: (a, b[:, :2]) if net.training else a)

def labels(in_channels, num_classes):
    return Net(in_channels, num_classes, lambda net, a, b: a.argmax(1) if net.training else a)

def both(in_channels, num_classes):
    return Net(in_channels, num_classes, lambda net, a, b: (a, {"x": b}) if net.training else a)

def detached(in_channels, num_classes):
    return Net(in_channels, num_classes, lambda net, a, b: a.detach() if net.training else a)

def failing(in_channels, num_classes):
    return Net(in_channels, num_classes, lambda net, a, b: net.none if net.training else a)

def pooled(in_channels, num_classes):
    net = Net(in_channels, num_classes, lambda net, a, b: a)
    net.body.append(nn.AdaptiveAvgPool2d(1))
    net.body.append(nn.BatchNorm2d(6))
    net.aux = nn.Sequential(nn.Conv2d(6, num_classes, 1), nn.Upsample(4))
    return net
"""


@pytest.fixture(scope="module", autouse=True)
def factories(tmp_path_factory):
    folder = tmp_path_factory.mktemp("factories")
    (folder / "outputs_of.py").write_text(FACTORIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield


@pytest.fixture
def config_of(train_config):
    return lambda name, **more: train_config(model=f"outputs_of:{name}", model_args={}, **more)


DATA = DataSet("", ["dark", "red", "green"], {})
SEVERAL = {"tuples": 2, "torchvision": 2, "transformers": 1, "monai": 2, "listed": 2, "single": 1}


@pytest.mark.parametrize("name", SEVERAL)
def test_the_loss_is_the_weighted_sum_over_all_outputs(config_of, name):
    config = config_of(name, loss="lovasz-softmax")
    torch.manual_seed(3)
    network = build_model(config, 3)
    criterion = fitting_loss(config, network, DATA)
    assert isinstance(criterion, DeepSupervision) == (SEVERAL[name] > 1)
    images, labels = torch.randn(2, 3, 12, 12), torch.randint(0, 3, (2, 12, 12))
    torch.manual_seed(4)
    loss = loss_of(criterion, network.train()(images), labels)
    torch.manual_seed(4)
    result = network(images)
    if name == "monai":
        scales, weights = list(result.unbind(1)), [1 / 2, 1 / 2]
    elif name == "torchvision":
        scales, weights = [result["out"], result["aux"]], [2 / 3, 1 / 3]
    elif name == "transformers":
        scales, weights = [result.logits], [1]
        assert result.logits.shape == (2, 3, 3, 3)
    elif name == "single":
        scales, weights = [result], [1]
    else:
        scales, weights = result, [2 / 3, 1 / 3]
    enlarged = [F.interpolate(logits, (12, 12), mode="bilinear") for logits in scales]
    lovasz = LovaszSoftmaxLoss()
    expected = sum(w * lovasz(logits, labels) for w, logits in zip(weights, enlarged, strict=True))
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    loss.backward()
    used = [parameter.grad is not None for parameter in network.parameters()]
    assert all(used) or name in ("single", "transformers", "monai")


@pytest.mark.parametrize("name", SEVERAL)
def test_the_trial_leaves_no_trace(config_of, name):
    config = config_of(name, loss="both-windowed")
    torch.manual_seed(5)
    network = build_model(config, 3)
    before, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    criterion = fitting_loss(config, network, DATA)
    assert_same(dict(network.state_dict()), dict(before))
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert_same(
        dict(criterion.state_dict()), dict(build_loss(config, 3, None, SEVERAL[name]).state_dict())
    )


def test_statistics_that_are_replaced_come_back():
    class Replaces(nn.Conv2d):
        def __init__(self):
            super().__init__(3, 3, 1)
            self.register_buffer("seen", torch.zeros(()))
            self.register_buffer("none", None)

        def forward(self, images):
            self.seen = self.seen + 1
            self.none = images.mean()
            self.register_buffer("more", images.std(), persistent=False)
            return super().forward(images)

    network = Replaces()
    seen = network.seen
    with _in_training(network):
        network(torch.ones(1, 3, 2, 2))
    assert network.seen is seen
    assert seen == 0
    assert dict(network._buffers) == {"seen": seen, "none": None}


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        (
            "narrow",
            {},
            r"^model: expected outputs_of:narrow to return logits of shape \(2, 3, h, w\), h and w"
            r" from 1 to 12, for an image of shape \(2, 3, 12, 12\) in training mode,"
            r" got tuple of \(2, 3, 12, 12\) and \(2, 2, 3, 3\)$",
        ),
        ("labels", {}, r"return logits .*, got \(2, 12, 12\) int64 in training mode$"),
        ("both", {}, r"return logits .*, got dict of x: \(2, 3, 3, 3\) in training mode$"),
        ("failing", {}, r"failed in training mode on an image of shape \(2, .*no attribute 'none'"),
        ("pooled", {"batch_size": 1}, r"failed in training mode .*\(1, 3, .*more than 1 value"),
        ("detached", {}, r"parameters that its logits depend on .*, got logits without a gradient"),
        (
            "tuples",
            {"output_weights": [1.0, 0.5, 0.2]},
            r"^output_weights: expected 2 of them, one for each output of outputs_of:tuples in"
            r" training mode, got \[1.0, 0.5, 0.2\]$",
        ),
        ("single", {"output_weights": [1.0, 0.5]}, r"output_weights: expected 1 of them"),
    ],
)
def test_what_does_not_fit_in_training_is_one_sentence_before_the_run(
    config_of, name, more, message
):
    config = config_of(name, **more)
    network = build_model(config, 3)
    with pytest.raises(UserError, match=message) as caught:
        fitting_loss(config, network, DATA)
    assert "\n" not in str(caught.value)
    assert not network.training


@pytest.mark.parametrize(
    "weights", [[], [0.0, 0.0], [1.0, -0.5], [float("nan"), 1.0], [float("inf")]]
)
def test_weights_that_are_none(train_config, weights):
    with pytest.raises(UserError, match="output_weights: expected finite numbers, none negative"):
        train_config(output_weights=weights)


def test_weights_of_the_outputs(config_of):
    config = config_of("tuples", output_weights=[1.0, 0.25], loss="lovasz-softmax")
    network = build_model(config, 3)
    criterion = fitting_loss(config, network, DATA)
    scales = (torch.randn(2, 3, 12, 12), torch.randn(2, 3, 3, 3))
    labels = torch.randint(0, 3, (2, 12, 12))
    lovasz = LovaszSoftmaxLoss(upsample="bilinear")
    expected = lovasz(scales[0], labels) + 0.25 * lovasz(scales[1], labels)
    torch.testing.assert_close(loss_of(criterion, scales, labels), expected)
    with pytest.raises(UserError, match=r"expected one output, as in the trial .*, got 2"):
        loss_of(build_loss(config_of("single"), 3), scales, labels)


def test_each_output_has_a_window_and_a_schedule_of_its_own(config_of):
    points = [{"epoch": 0, "cross_entropy": 0.5, "lovasz": 2}]
    config = config_of("tuples", loss="both-windowed", momentum=0.5, loss_schedule=points)
    criterion = fitting_loss(config, build_model(config, 3), DATA)
    apart = [build_loss(config_of("single", loss="both-windowed", momentum=0.5), 3) for _ in "12"]
    for part in apart:
        part.cross_entropy_weight, part.lovasz_weight = 0.5, 2.0
    set_epoch(criterion, config, 1)
    for _ in range(3):
        scales = [torch.randn(2, 3, side, side) for side in (12, 3)]
        labels = torch.randint(0, 3, (2, 12, 12))
        first, second = (part(x, labels) for part, x in zip(apart, scales, strict=True))
        loss = loss_of(criterion, scales, labels)
        torch.testing.assert_close(loss, first * 2 / 3 + second / 3)


@pytest.mark.parametrize("name", ["tuples", "torchvision", "transformers"])
def test_a_run_of_such_a_network_resumes_bit_for_bit(config_of, tmp_path, name):
    config = config_of(name, loss="both-windowed", epochs=1)
    run(config)
    broken = config_of(name, loss="both-windowed", epochs=1, out=str(tmp_path / "broken"))
    with pytest.raises(Interrupted):
        train(broken, load_data(broken), quiet, StopAfter(1))
    run(broken)
    assert_same(outcome(broken), outcome(config))


def test_the_command_line_says_what_does_not_fit_before_the_folder_is_claimed(
    config_of, tmp_path, capsys
):
    config = config_of("tuples")
    words = ["--data", config.data, "--model", config.model, "--crop", "12", "--out", config.out]
    assert command(["train", *words, "--output-weights", "[1, 0.4, 0.1]"]) == 2
    assert "output_weights: expected 2 of them, one for each output" in capsys.readouterr().err
    assert command(["compare", *words, "--output-weights", "[1]"]) == 2
    assert "output_weights: expected 2 of them, one for each output" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
