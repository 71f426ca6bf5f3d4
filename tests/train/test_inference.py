from __future__ import annotations

import pytest
import torch
from monai.data.utils import compute_importance_map
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lovasz import Decision
from lovasz.train.data import IMAGENET, Statistics
from lovasz.train.inference import blocks, predict_each, predict_labels, predict_probabilities

GREY = Statistics((100.5,), (50.0,))


class Place(nn.Module):
    """Logits that depend on the image and on the place in the window, not on the batch."""

    def __init__(self, window: int, classes: int = 3, lower: int = 1):
        super().__init__()
        random = torch.Generator().manual_seed(window)
        self.place = nn.Parameter(torch.randn(classes, window, window, generator=random))
        self.lower = lower

    def forward(self, images):
        assert images.shape[2:] == self.place.shape[1:]
        return (images[:, :1] * self.place)[:, :, :: self.lower, :: self.lower]


def image(*shape):
    random = torch.Generator().manual_seed(shape[-1])
    return torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)


def starts(size, window):
    """As few as overlap by a quarter, evenly."""
    count = int(size > window)
    while (size - window) > count * int(0.75 * window):
        count += 1
    return [(size - window) * k // max(1, count) for k in range(count + 1)]


def blended_whole(model, pixels, window):
    """All windows added to one tensor of the size of the image, along the longer side last."""
    height, width = pixels.shape[1:]
    weights = compute_importance_map((window,), "gaussian", 0.125)
    weights = weights[:, None] * weights
    sums = torch.zeros(len(model.place), height, width)
    columns = torch.zeros(width)
    rows = torch.zeros(height)
    corners = [(top, left) for top in starts(height, window) for left in starts(width, window)]
    if width > height:
        corners.sort(key=lambda corner: corner[::-1])
    for top, left in corners:
        place = (slice(None), slice(top, top + window), slice(left, left + window))
        logits = model(GREY.normalise(pixels[place][None]))
        logits = F.interpolate(logits, (window, window), mode="bilinear")
        sums[place] += logits[0] * weights
    for total, size in ((rows, height), (columns, width)):
        for start in starts(size, window):
            total[start : start + window] += compute_importance_map((window,), "gaussian", 0.125)
    return sums / (rows[:, None] * columns)


# One pixel more than the window, a step more, three windows over each other, many windows.
@pytest.mark.parametrize(
    "size", [(13, 12), (12, 29), (21, 22), (30, 24), (64, 41), (41, 64), (95, 13)], ids=str
)
@pytest.mark.parametrize("lower", [1, 3])
@torch.no_grad()
def test_strips_blend_as_the_whole_image_does(size, lower):
    pixels, model = image(1, *size), Place(12, lower=lower)
    expected = blended_whole(model, pixels, 12)
    got = torch.full_like(expected, torch.nan)
    for number, rows, columns, logits in blocks(model, pixels[None], 12, GREY):
        assert number == 0
        assert got[:, rows, columns].isnan().all()  # each pixel comes once
        got[:, rows, columns] = logits
    assert torch.equal(got, expected)
    assert torch.equal(predict_labels(model, pixels[None], 12, GREY)[0].long(), expected.argmax(0))
    probabilities = predict_probabilities(model, pixels[None], 12, GREY)[0]
    torch.testing.assert_close(probabilities, expected.softmax(0))


@pytest.mark.parametrize("size", [(12, 12), (7, 12), (5, 4), (9, 40), (40, 9)], ids=str)
@pytest.mark.parametrize("lower", [1, 3])
@torch.no_grad()
def test_labels_are_those_of_the_largest_probability(size, lower):
    pixels, model = image(3, 1, *size), Place(12, lower=lower)
    labels = predict_labels(model, pixels, 12, GREY)
    assert (labels.dtype, labels.shape) == (torch.uint8, (3, *size))
    probabilities = predict_probabilities(model, pixels, 12, GREY)
    chosen = probabilities.gather(1, labels[:, None].long())[:, 0]  # no other is larger
    assert torch.equal(chosen, probabilities.amax(1))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3, *size))
    # Floats of the same range are the same, and a batch is its images one by one.
    apart = [predict_labels(model, one[None].float(), 12, GREY)[0] for one in pixels]
    assert torch.equal(torch.stack(apart), labels)


def test_the_memory_is_that_of_a_strip():
    """What is kept between windows: the overlap along the shorter side, and a few windows."""
    window, classes, largest = 16, 19, 0

    class Watched(Place):
        def forward(self, images):
            nonlocal largest
            largest = max(largest, images.numel())
            return super().forward(images)

    pixels, made = image(1, 1, 60, 700), 0

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal made
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.is_floating_point():
                made = max(made, result.untyped_storage().nbytes())
            return result

    with Largest():
        predict_labels(Watched(window, classes), pixels, window, GREY)
    assert largest == 4 * window**2  # of the image no more than a pass of the network needs
    assert made <= 4 * classes * max(4 * window**2, 6 * 60)  # where all logits would be 19 * 42,000
    assert made < 4 * classes * pixels.numel() / 30


def test_probabilities_go_to_the_tensor_that_is_given():
    pixels, model = image(2, 1, 30, 25), Place(12)
    out = torch.empty(2, 3, 30, 25, dtype=torch.float64)
    assert predict_probabilities(model, pixels, 12, GREY, out=out) is out
    torch.testing.assert_close(out.float(), predict_probabilities(model, pixels, 12, GREY))
    with pytest.raises(ValueError, match=r"expected out of shape \(2, 3, 30, 25\), got \(3, 30,"):
        predict_probabilities(model, pixels, 12, GREY, out=out[0])


@pytest.mark.parametrize(("size", "total"), [((12, 9), 2), ((21, 22), 12), ((9, 21), 4)], ids=str)
def test_progress_ends_with_all_windows_and_may_stop(size, total):
    calls = []
    pixels, model = image(2, 1, *size), Place(12)
    predict_labels(model, pixels, 12, GREY, progress=lambda *now: calls.append(now))
    assert calls[-1] == (total, total)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_labels(model, pixels, 12, GREY, progress=stop)


def test_the_main_output_of_several_counts():
    class Several(Place):
        def forward(self, images):
            main = super().forward(images)
            return {"aux": -main[:, :, ::2, ::2], "out": main}

    for size in ((12, 12), (20, 30)):
        pixels = image(1, 1, *size)
        expected = predict_labels(Place(12), pixels, 12, GREY)
        assert torch.equal(predict_labels(Several(12), pixels, 12, GREY), expected)


def test_a_gradient_is_not_kept():
    assert not predict_probabilities(Place(12), image(1, 1, 20, 9), 12, GREY).requires_grad


def test_channels_are_those_of_the_statistics():
    class Mean(nn.Module):
        def forward(self, images):
            mean = images.mean(1, keepdim=True)
            return torch.cat([-mean, mean], 1)

    for channels in (1, 3, 4, 7):
        statistics = Statistics((128.0,) * channels, (1.0,) * channels)
        pixels = image(1, channels, 20, 31)
        labels = predict_labels(Mean(), pixels, 16, statistics)
        assert torch.equal(labels, (pixels.float().mean(1) > 128).to(torch.uint8))


def test_a_batch_larger_than_the_window_has_each_image_on_its_own():
    pixels = image(3, 3, 40, 25)

    class Bright(nn.Module):
        def forward(self, images):
            return torch.cat([-images[:, :1], images[:, :1]], 1)

    labels = predict_labels(Bright(), pixels, 16, IMAGENET)
    assert torch.equal(labels, (pixels[:, 0] > IMAGENET.mean[0]).to(torch.uint8))


OFFSETS = torch.tensor([0.5, -1.25, 0.75])


# One window, a smaller image, and strips along either axis.
@pytest.mark.parametrize("size", [(12, 12), (7, 12), (64, 41), (9, 40)], ids=str)
@pytest.mark.parametrize("lower", [1, 3])
@torch.no_grad()
def test_one_pass_gives_the_labels_of_several_decisions(size, lower):
    calls = 0

    class Counted(Place):
        def forward(self, images):
            nonlocal calls
            calls += 1
            return super().forward(images)

    pixels, model, decision = image(2, 1, *size), Counted(12, lower=lower), Decision(3)
    decision.offsets.copy_(OFFSETS)
    plain = predict_labels(model, pixels, 12, GREY)
    alone, calls = calls, 0
    argmax, fitted, again = predict_each(model, pixels, 12, GREY, [None, OFFSETS, None])
    assert calls == alone
    assert torch.equal(argmax, plain)
    assert torch.equal(again, plain)
    whole = torch.empty(2, 3, *size)  # the enlarged logits of all windows
    for number, rows, columns, logits in blocks(model, pixels, 12, GREY):
        whole[number, :, rows, columns] = logits
    assert (fitted.dtype, fitted.shape) == (torch.uint8, plain.shape)
    assert torch.equal(fitted, decision(whole, dtype=torch.uint8))
    assert not torch.equal(fitted, plain)
    assert torch.equal(predict_labels(model, pixels, 12, GREY, offsets=OFFSETS), fitted)
    assert torch.equal(predict_labels(model, pixels, 12, GREY, offsets=torch.zeros(3)), plain)
    labels = torch.empty_like(plain)
    table = predict_probabilities(model, pixels, 12, GREY, labels=labels, offsets=OFFSETS)
    assert torch.equal(labels, fitted)
    torch.testing.assert_close(table, whole.softmax(1))  # without the offsets


def test_offsets_have_to_fit_and_decide_nothing_of_nan():
    pixels = image(1, 1, 12, 12)
    for predict in (predict_labels, predict_probabilities):
        for wrong in (OFFSETS[:1], OFFSETS[:2]):
            labels = torch.empty(1, 12, 12, dtype=torch.uint8)
            options = {} if predict is predict_labels else {"labels": labels}
            with pytest.raises(ValueError, match=r"one for each class of the network, 3, got [12]"):
                predict(Place(12), pixels, 12, GREY, offsets=wrong, **options)
    diverged = Place(12)
    torch.nn.init.constant_(diverged.place, torch.nan)
    for size in ((12, 12), (30, 9)):
        labels = predict_labels(diverged, image(1, 1, *size), 12, GREY, offsets=OFFSETS)
        assert not labels.any()
