"""Cross-entropy and Lovász-Softmax together against the two apart."""

import pytest
import torch
import torch.nn.functional as F

from lovasz import CrossEntropyLovaszSoftmaxLoss, cross_entropy_lovasz_softmax, lovasz_softmax
from lovasz.kernels import cpu, reference

IGNORE = 77
LAYOUTS = {
    "images": lambda logits: logits,
    "channels last": lambda logits: logits.contiguous(memory_format=torch.channels_last),
    "points": lambda logits: logits.movedim(1, -1).reshape(-1, logits.shape[1]),
}


def inputs(layout="images", classes=7, dtype=torch.float32):
    logits = LAYOUTS[layout](torch.randn(2, classes, 19, 23)).to(dtype)
    target = torch.randint(classes, (2, 19, 23))
    target[torch.rand(target.shape) < 0.2] = IGNORE
    target = target.reshape(-1) if layout == "points" else target
    return logits.detach().requires_grad_(), target


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_is_the_sum_of_both(level, layout, weighted, smoothing, dtype):
    logits, target = inputs(layout, dtype=dtype)
    weight = torch.rand(7, dtype=dtype) + 0.1 if weighted else None
    both = cross_entropy_lovasz_softmax(
        logits,
        target,
        cross_entropy_weight=0.7,
        lovasz_weight=0.4,
        weight=weight,
        label_smoothing=smoothing,
        ignore_index=IGNORE,
    )
    cross_entropy = F.cross_entropy(
        logits, target, weight, ignore_index=IGNORE, label_smoothing=smoothing
    )
    apart = 0.7 * cross_entropy + 0.4 * lovasz_softmax(logits, target, ignore_index=IGNORE)
    torch.testing.assert_close(both, apart, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        gradient(both, logits), gradient(apart, logits), rtol=1e-4, atol=2e-9
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_logits_are_read_as_they_are(dtype):
    logits, target = inputs(dtype=dtype)
    both = cross_entropy_lovasz_softmax(logits, target, ignore_index=IGNORE, label_smoothing=0.1)
    wide = logits.detach().float().requires_grad_()
    expected = cross_entropy_lovasz_softmax(wide, target, ignore_index=IGNORE, label_smoothing=0.1)
    assert both.dtype == torch.float32
    assert torch.equal(both, expected)
    assert torch.equal(gradient(both, logits), gradient(expected, wide).to(dtype))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_kernels_are_the_reference(level, weighted, smoothing):
    scores = torch.randn(2, 19, 300)
    target = torch.randint(19, (2, 300))
    target[0, :50] = IGNORE
    options = (torch.rand(19) if weighted else None, smoothing)
    arguments = (scores, target, 1024, IGNORE, False, "softmax", True, *options)
    _, lse, _, sums, _ = cpu.histogram(*arguments)
    expected = reference.histogram(*arguments)[3]
    torch.testing.assert_close(sums, expected, rtol=1e-6, atol=1e-6)
    slopes = torch.rand(1, 19, 2, 1) * torch.linspace(0.5, 1.0, 1024)
    head = (scores, target, lse, slopes, None, IGNORE, "softmax")
    arguments = (*head, torch.tensor(1.5), *options)
    torch.testing.assert_close(
        cpu.backward(*arguments), reference.backward(*arguments), rtol=1e-3, atol=1e-4
    )


def test_threads_change_nothing(level):
    scores, target = torch.randn(3, 19, 9001), torch.randint(19, (3, 9001))
    arguments = (scores, target, 64, None, False, "softmax", True, None, 0.1)
    results = []
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        results.append(cpu.histogram(*arguments)[3])
    assert all(torch.equal(results[0], other) for other in results)


def test_everything_ignored():
    logits = torch.randn(1, 3, 8, requires_grad=True)
    target = torch.full((1, 8), IGNORE)
    loss = cross_entropy_lovasz_softmax(logits, target, ignore_index=IGNORE)
    assert loss.item() == 0
    assert not gradient(loss, logits).any()


def test_nan_logits():
    logits, target = inputs()
    with torch.no_grad():
        logits[0, 0, 0, 0] = float("nan")
    target[0, 0, 0] = IGNORE
    loss = cross_entropy_lovasz_softmax(logits, target, ignore_index=IGNORE)
    assert loss.isfinite()
    assert gradient(loss, logits).isfinite().all()
    target[0, 0, 0] = 1
    assert cross_entropy_lovasz_softmax(logits, target, ignore_index=IGNORE).isnan()


def test_second_derivative():
    logits = torch.randn(1, 3, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randint(3, (1, 5))
    weight = torch.tensor([0.5, 1.0, 2.0])

    def loss(logits):
        return cross_entropy_lovasz_softmax(
            logits, target, weight=weight, label_smoothing=0.2, lovasz_weight=0.0
        )

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiles_in_one_piece():
    logits, target = inputs()
    compiled = torch.compile(cross_entropy_lovasz_softmax, fullgraph=True, backend="aot_eager")
    expected = cross_entropy_lovasz_softmax(logits, target, ignore_index=IGNORE)
    got = compiled(logits, target, ignore_index=IGNORE)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(gradient(got, logits), gradient(expected, logits))


def test_opcheck():
    scores, target = torch.randn(2, 5, 70), torch.randint(5, (2, 70))
    options = (torch.rand(5), 0.1)
    operators = torch.ops.lovasz
    arguments = (scores, target, 64, None, False, "softmax", True, *options)
    torch.library.opcheck(operators.histogram, arguments)
    slopes, lse = torch.rand(1, 5, 2, 64), operators.histogram(*arguments)[1]
    scale = torch.tensor(0.5, dtype=torch.float64)
    head = (scores, target, lse, slopes, torch.rand(1, 5), None, "softmax")
    tail = (scale, *options, None, torch.rand(2, 70), None, None, None, 0.0, None)
    torch.library.opcheck(operators.backward, (*head, *tail))
    torch.library.opcheck(operators.extend, (torch.ones(1, 5, 2, 64).long(), 1.0, 2.0, False))


def test_module_is_the_function():
    logits, target = inputs()
    weight = torch.rand(7)
    options = {
        "cross_entropy_weight": 0.5,
        "lovasz_weight": 2,
        "weight": weight,
        "label_smoothing": 0.1,
        "classes": "all",
        "ignore_index": IGNORE,
        "lovasz_class_weight": weight.flip(0),
        "normalize_weight": False,
        "per_image": True,
        "bins": 100,
    }
    module = CrossEntropyLovaszSoftmaxLoss(**options)
    assert torch.equal(
        module(logits, target), cross_entropy_lovasz_softmax(logits, target, **options)
    )
    assert set(dict(module.named_buffers())) == {"weight", "lovasz_class_weight"}
    assert "label_smoothing=0.1" in repr(module)


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("cross_entropy_weight", -1.0, ValueError),
        ("lovasz_weight", float("nan"), ValueError),
        ("lovasz_weight", "1", TypeError),
        ("label_smoothing", 1.5, ValueError),
        ("label_smoothing", True, TypeError),
        ("weight", [1.0, 2.0, -1.0], ValueError),
        ("lovasz_class_weight", [1.0, 2.0, -1.0], ValueError),
        ("ignore_index", 1.5, TypeError),
    ],
)
def test_wrong_options(option, value, error):
    logits, target = torch.zeros(1, 3, 4), torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(error, match=f"cross_entropy_lovasz_softmax: expected {option}"):
        cross_entropy_lovasz_softmax(logits, target, **{option: value})
    with pytest.raises(error, match=f"CrossEntropyLovaszSoftmaxLoss: expected {option}"):
        CrossEntropyLovaszSoftmaxLoss(**{option: value})
