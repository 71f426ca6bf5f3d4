"""Labels of upsampled logits, against torch's interpolation and argmax."""

import pytest
import torch
from torch.nn import functional as F

from lovasz import upsampled_argmax

# Mode, source and size: enlarged, made smaller, along some axes alone, by no whole number.
SIZES = [
    ("linear", (7,), (23,)),
    ("bilinear", (5, 7), (20, 28)),
    ("bilinear", (5, 7), (13, 31)),
    ("bilinear", (12, 9), (5, 4)),
    ("bilinear", (3, 8), (3, 17)),
    ("bilinear", (1, 1), (5, 3)),
    ("trilinear", (3, 4, 5), (7, 9, 10)),
    ("nearest", (5,), (13,)),
    ("nearest", (5, 7), (13, 31)),
    ("nearest", (3, 4, 5), (7, 2, 10)),
]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def enlarged(logits, size, mode, **options):
    return F.interpolate(logits.double(), size, mode=mode, **options)


def assert_labels(labels, scores):
    """Each is the class of the largest score; within rounding of it, where two are as large."""
    chosen = scores.gather(1, labels.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(chosen, scores.amax(1), rtol=0, atol=1e-5)
    assert (labels == scores.argmax(1)).double().mean() > 0.95


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("mode", "source", "size"), SIZES, ids=str)
def test_labels_are_those_of_enlarged_logits(mode, source, size, dtype):
    logits = torch.randn(2, 6, *source).to(dtype)
    for align in (False, True) if mode != "nearest" else (False,):
        labels = upsampled_argmax(logits, size, upsample=mode, align_corners=align)
        assert labels.shape == (2, *size)
        assert labels.dtype == torch.int64
        options = {} if mode == "nearest" else {"align_corners": align}
        assert_labels(labels, enlarged(logits, size, mode, **options))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_any_layout(dtype):
    wide = torch.randn(4, 12, 10, 14).to(dtype)
    expected = upsampled_argmax(wide[1:3, ::2, ::2, 1::2].contiguous(), (13, 31))
    for logits in (
        wide[1:3, ::2, ::2, 1::2],
        wide[1:3, ::2, ::2, 1::2].contiguous(memory_format=torch.channels_last),
        wide[1:3, ::2, ::2, 1::2].transpose(2, 3).contiguous().transpose(2, 3),
        wide[1:3, ::2, ::2, 1::2].transpose(0, 1).contiguous().transpose(0, 1),
    ):
        assert torch.equal(upsampled_argmax(logits, (13, 31)), expected)
    constant = torch.randn(1, 6, 1, 1, dtype=torch.float32).to(dtype).expand(2, 6, 5, 7)
    assert torch.equal(
        upsampled_argmax(constant, (13, 31)), constant.argmax(1)[:, :1, :1].expand(2, 13, 31)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("size", [(5, 7), (13, 31), (3, 4)])
def test_no_number_is_no_label(size, dtype):
    logits = torch.randn(2, 3, 5, 7).to(dtype)
    logits[0, 1, 2, 3] = torch.nan
    logits[1, :, 0, 0] = -torch.inf
    logits[1, 2, 4, 6] = torch.inf
    scores = logits if size == (5, 7) else F.interpolate(logits.float(), size, mode="bilinear")
    none = scores.isnan().any(1)
    assert none.any() or size == (3, 4)
    labels = upsampled_argmax(logits, size)
    assert torch.equal(labels == -1, none)
    assert torch.equal(labels[~none], scores.argmax(1)[~none])
    narrow = upsampled_argmax(logits, size, dtype=torch.uint8)
    assert narrow.dtype == torch.uint8
    assert torch.equal(narrow == 255, none)
    assert torch.equal(narrow[~none], labels[~none].to(torch.uint8))


def test_equal_sizes_are_not_interpolated():
    logits = torch.zeros(1, 2, 1, 3)
    logits[0, 1, 0, 1] = torch.inf  # 0 times it would be NaN
    for mode in ("bilinear", "nearest"):
        assert upsampled_argmax(logits, (1, 3), upsample=mode).tolist() == [[[0, 1, 0]]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [(4, 5), (9, 7)])
def test_of_equal_logits_the_first(size, dtype):
    logits = torch.zeros(1, 4, 4, 5, dtype=dtype)
    logits[:, 0] = -1
    assert (upsampled_argmax(logits, size) == 1).all()
    assert (upsampled_argmax(logits, torch.Size(size), upsample="nearest") == 1).all()


def test_one_class_many_classes_and_no_image():
    assert (upsampled_argmax(torch.randn(2, 1, 3, 4), (5, 6)) == 0).all()
    logits = torch.zeros(1, 255, 2, 2)
    logits[:, 254] = 1
    assert (upsampled_argmax(logits, (5, 3), dtype=torch.uint8) == 254).all()
    for size in ((2, 2), (5, 3)):
        assert upsampled_argmax(logits[:0], size).shape == (0, *size)


def test_without_gradient_under_every_mode():
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    expected = upsampled_argmax(logits, (9, 7))
    assert not expected.requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(upsampled_argmax(logits, (9, 7)), expected)
            assert torch.equal(upsampled_argmax(logits * 1, (9, 7)), expected)
    for size in ((4, 5), (9, 7)):
        meta = upsampled_argmax(logits.to("meta"), size, dtype=torch.uint8)
        assert meta.is_meta
        assert (meta.shape, meta.dtype) == ((2, *size), torch.uint8)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8], ids=str)
@pytest.mark.parametrize(
    ("backend", "dynamic"), [("aot_eager", False), ("aot_eager", True), ("inductor", True)]
)
def test_compiles_without_a_graph_break(backend, dynamic, dtype):
    torch.compiler.reset()

    def labels(logits, target):
        return upsampled_argmax(logits, target.shape[1:], dtype=dtype)

    compiled = torch.compile(labels, fullgraph=True, backend=backend, dynamic=dynamic)
    for source, size in (((4, 5), (9, 7)), ((6, 5), (8, 3)), ((4, 5), (4, 5))):
        pair = torch.randn(2, 3, *source), torch.zeros(2, *size)
        assert torch.equal(compiled(*pair), labels(*pair))


LOGITS = torch.zeros(2, 3, 4, 5)
WRONG = [
    (LOGITS.long(), (8, 9), {}, TypeError, "expected logits of dtype float64, float32, bfl"),
    ([1.0], (8, 9), {}, TypeError, "expected logits to be a tensor, got list"),
    (LOGITS[0, :, 0], (8,), {}, ValueError, r"expected logits of shape \(N, C, \*\) .* got \(3, 5"),
    (LOGITS[:, :0], (8, 9), {}, ValueError, r"at least one class .* got \(2, 0, 4, 5\)"),
    (LOGITS[:, :, :0], (8, 9), {}, ValueError, "expected logits without an empty axis .* got"),
    (LOGITS, (8,), {}, ValueError, r"expected size of 2 integers, .* \(2, 3, 4, 5\), got \(8,\)"),
    (LOGITS, (8, 9, 1), {}, ValueError, r"expected size of 2 integers, .* got \(8, 9, 1\)"),
    (LOGITS, (8, 0), {}, ValueError, r"expected size of integers from 1, got \(8, 0\)"),
    (LOGITS, (8, -9), {}, ValueError, r"expected size of integers from 1, got \(8, -9\)"),
    (LOGITS, 8, {}, TypeError, "expected size to be a sequence of integers, .* got 8"),
    (LOGITS, (8.0, 9), {}, TypeError, r"expected size to be a sequence .* got \(8.0, 9\)"),
    (LOGITS, (8, 9), {"upsample": None}, ValueError, "expected upsample to be one of .* got None"),
    (LOGITS, (8, 9), {"upsample": "area"}, ValueError, "upsample to be one of .* got 'area'"),
    (LOGITS, (8, 9), {"upsample": "linear"}, ValueError, r'for 2 pass upsample="bilinear"'),
    (LOGITS[None], (8, 9, 9), {}, ValueError, r'for 3 pass upsample="trilinear"'),
    (LOGITS, (4, 5), {"upsample": "linear"}, ValueError, r'for 2 pass upsample="bilinear"'),
    (LOGITS, (8, 9), {"align_corners": 1}, TypeError, "align_corners to be True or False, got 1"),
    (
        LOGITS,
        (8, 9),
        {"upsample": "nearest", "align_corners": True},
        ValueError,
        "align_corners=True with upsample of linear, bilinear or trilinear alone, got upsample='n",
    ),
    (LOGITS, (8, 9), {"dtype": torch.int32}, TypeError, "torch.int64 or torch.uint8, got torch.in"),
    (
        torch.zeros(1, 256, 1, 1),
        (2, 2),
        {"dtype": torch.uint8},
        ValueError,
        "torch.int64 for more than 255 classes, got torch.uint8 for 256",
    ),
]


@pytest.mark.parametrize(("logits", "size", "options", "error", "words"), WRONG)
def test_errors_are_one_sentence(logits, size, options, error, words):
    with pytest.raises(error, match=f"^upsampled_argmax: .*{words}") as caught:
        upsampled_argmax(logits, size, **options)
    assert "\n" not in str(caught.value)
