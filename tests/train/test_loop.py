from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lovasz.train import checkpoint, loop
from lovasz.train.data import load_data
from lovasz.train.errors import UserError
from lovasz.train.evaluate import Interrupted
from lovasz.train.loop import test as evaluate_run
from lovasz.train.loop import train


def never() -> bool:
    return False


def quiet(done, total, loss, miou) -> None:
    pass


# How often a run asks in an epoch: after 3 steps, and in the evaluation of 3 images before each of
# them and of its 4 windows.
EPOCH = 3 + 15


class StopAfter:
    """Asks to stop once it has been asked a number of times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def outcome(config):
    """All that two runs must have in common, bit for bit."""
    out = Path(config.out)
    result = json.loads((out / "result.json").read_text())
    del result["seconds"]
    state = checkpoint.read(out / "checkpoint.pt")
    del state["progress"]["seconds"]
    return result, (out / "log.jsonl").read_text(), state


def assert_same(left, right):
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert left == right


def run(config):
    data = load_data(config)
    train(config, data, quiet, never)
    evaluate_run(config, data, never)


# In the middle of the first and of the second epoch, after the last step before the evaluation, in
# the middle of the evaluation, three times, in the last epoch.
@pytest.mark.parametrize(
    "stops", [[1], [EPOCH], [2], [EPOCH - 5], [1, 1, EPOCH + 1], [2 * EPOCH + 2]]
)
@pytest.mark.parametrize("loss", ["cross-entropy", "both-windowed"])
def test_resume_is_bit_for_bit(train_config, tmp_path, stops, loss):
    straight = train_config(loss=loss)
    run(straight)
    broken = train_config(loss=loss, out=str(tmp_path / "broken"))
    for times in stops:
        with pytest.raises(Interrupted):
            train(broken, load_data(broken), quiet, StopAfter(times))
    run(broken)
    assert_same(outcome(broken), outcome(straight))


POINTS = [
    {"epoch": 0.5, "cross_entropy": 1.0, "lovasz": 0.0},
    {"epoch": 2.5, "cross_entropy": 0.0, "lovasz": 1.0},
]


@pytest.mark.parametrize(
    "changes", [{"sampler": "equibatch"}, {"loss_schedule": POINTS, "class_weights": "sqrt"}]
)
def test_resume_with_what_depends_on_the_epoch_is_bit_for_bit(train_config, tmp_path, changes):
    straight = train_config(**changes)
    run(straight)
    broken = train_config(**changes, out=str(tmp_path / "broken"))
    for times in (EPOCH, 1):
        with pytest.raises(Interrupted):
            train(broken, load_data(broken), quiet, StopAfter(times))
    run(broken)
    assert_same(outcome(broken), outcome(straight))
    plain = train_config(out=str(tmp_path / "plain"))
    run(plain)
    assert outcome(plain)[1] != outcome(straight)[1]


def test_a_schedule_starts_as_one_loss_and_ends_as_the_other(train_config, tmp_path):
    first = [{"epoch": 0, "cross_entropy": 1, "lovasz": 0}]
    last = [{"epoch": 0, "cross_entropy": 0, "lovasz": 1}]
    changing = [*first, {"epoch": 1, "cross_entropy": 0, "lovasz": 1}]
    runs = {
        "entropy": {"loss": "cross-entropy"},
        "first": {"loss_schedule": first},
        "lovasz": {"loss": "lovasz-softmax"},
        "last": {"loss_schedule": last},
        "changing": {"loss_schedule": changing},
    }
    losses = {}
    for name, options in runs.items():
        config = train_config(**options, epochs=2, out=str(tmp_path / name))
        run(config)
        rows = outcome(config)[1].splitlines()
        losses[name] = [json.loads(row)["loss"] for row in rows]
    assert losses["first"] == pytest.approx(losses["entropy"], rel=1e-5)
    assert losses["last"] == pytest.approx(losses["lovasz"], rel=1e-5)
    assert losses["last"][0] < losses["changing"][0] < losses["first"][0]


def test_the_loss_hears_of_the_epoch_at_every_step(train_config, monkeypatch):
    heard = []
    monkeypatch.setattr(loop, "set_epoch", lambda criterion, config, epoch: heard.append(epoch))
    config = train_config(epochs=2)
    with pytest.raises(Interrupted):
        train(config, load_data(config), quiet, StopAfter(1))
    run(config)
    assert heard == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3])


def test_a_run_that_was_killed_goes_on_after_its_last_epoch(train_config, tmp_path):
    straight = train_config()
    run(straight)
    broken = train_config(out=str(tmp_path / "broken"))

    def crash() -> bool:
        log = Path(broken.out) / "log.jsonl"
        if len(log.read_text().splitlines()) == 2:
            raise MemoryError
        return False

    with pytest.raises(MemoryError):
        train(broken, load_data(broken), quiet, crash)
    assert checkpoint.read(Path(broken.out) / "checkpoint.pt")["progress"]["epoch"] == 2
    run(broken)
    assert_same(outcome(broken), outcome(straight))


def test_resume_restores_random_numbers_of_dropout(train_config, tmp_path, monkeypatch):
    (tmp_path / "dropping.py").write_text(
        "from torch import nn\n"
        "def net(in_channels, num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 8, 3, padding=1), nn.Dropout(0.5),\n"
        "                         nn.Conv2d(8, num_classes, 1))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    options = {"model": "dropping:net", "model_args": {}}
    straight = train_config(**options)
    run(straight)
    broken = train_config(**options, out=str(tmp_path / "broken"))
    with pytest.raises(Interrupted):
        train(broken, load_data(broken), quiet, StopAfter(EPOCH))
    run(broken)
    assert_same(outcome(broken), outcome(straight))


@pytest.mark.parametrize("crop", [12, 20])  # images of 16 x 16: a sliding window, and padding
def test_logits_of_a_lower_resolution_train_as_enlarged_ones(
    train_config, tmp_path, monkeypatch, crop
):
    (tmp_path / "coarse.py").write_text(
        "from torch import nn\n"
        "def net(in_channels, num_classes, size=None):\n"
        "    network = nn.Sequential(nn.Conv2d(in_channels, 8, 5, stride=5), nn.ReLU(),\n"
        "                            nn.Conv2d(8, num_classes, 1))\n"
        "    if size:\n"
        "        network.append(nn.Upsample((size, size), mode='bilinear'))\n"
        "    return network\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    results = []
    for name, model_args in (("coarse", {}), ("enlarged", {"size": crop})):
        config = train_config(
            model="coarse:net", model_args=model_args, crop=crop, out=str(tmp_path / name)
        )
        run(config)
        result, log, state = outcome(config)
        results.append((json.loads(log.splitlines()[-1])["loss"], state["model"], result["miou"]))
    (loss, weights, miou), (usual_loss, usual_weights, usual_miou) = results
    assert loss == pytest.approx(usual_loss, rel=1e-3)
    assert miou == pytest.approx(usual_miou, abs=0.02)
    torch.testing.assert_close(weights, usual_weights, rtol=1e-2, atol=1e-3)


def test_workers_do_not_change_the_run(train_config, tmp_path):
    alone, helped = train_config(), train_config(workers=1, out=str(tmp_path / "helped"))
    run(alone)
    run(helped)
    assert_same(outcome(helped), outcome(alone))


def test_it_learns(train_config):
    config = train_config(epochs=20, lr=0.02)
    run(config)
    assert outcome(config)[0]["miou"] > 0.8


def test_all_pixels_ignored_is_survived(train_config, squares):
    config = train_config(ignore_index=0, epochs=1)
    for folder in ("train", "val", "test"):
        for mask in (squares / folder / "masks").iterdir():
            _blank(mask)
    run(config)
    weights = outcome(config)[2]["model"]
    assert all(tensor.isfinite().all() for tensor in weights.values())


def _blank(path: Path) -> None:
    from PIL import Image

    Image.new("L", (16, 16), 0).save(path)


def test_damaged_checkpoint_is_one_sentence(train_config):
    config = train_config(epochs=1)
    run(config)
    path = Path(config.out) / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"checkpoint.pt: expected a checkpoint, cannot read it"):
        train(config, load_data(config), quiet, never)


def test_sgd_bf16_and_cosine_run(train_config):
    run(train_config(epochs=1, optimizer="sgd", precision="bf16-mixed", schedule="cosine"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_mask_ends_the_run_with_its_sentence(train_config, squares, workers):
    from PIL import Image

    for mask in (squares / "train/masks").iterdir():
        Image.new("L", (16, 16), 7).save(mask)
    config = train_config(workers=workers)
    sentence = r"^/.*\.png: expected labels from 0 to 2 .*, got 7; --mask_values [^;]*$"
    with pytest.raises(UserError, match=sentence):
        train(config, load_data(config), quiet, never)


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), UserError),
        (ConnectionResetError("in the moment of its end"), UserError),
        (EOFError("in the moment of its end"), UserError),
        (RuntimeError("an error of another kind"), RuntimeError),
    ],
)
def test_a_killed_loader_is_one_sentence(train_config, monkeypatch, error, found):
    def ended(*_, **__):
        raise error
        yield

    monkeypatch.setattr(loop, "training_batches", ended)
    config = train_config(workers=1)
    sentence = "another kind" if found is RuntimeError else "^workers: a process .* --resume"
    with pytest.raises(found, match=sentence):
        train(config, load_data(config), quiet, never)
