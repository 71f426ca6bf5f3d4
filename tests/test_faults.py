"""Ten faults of existing implementations: each check passes with ours and fails with the fault.

Every fault is planted on purpose, in a few lines of its own, so that the check is seen failing.
"""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lovasz import lovasz_softmax
from tests import oracle
from tools import published


def gradient_of(loss, logits, *arguments, **options):
    logits = logits.detach().requires_grad_()
    return torch.autograd.grad(loss(logits, *arguments, **options), logits)[0]


def problem(classes=5, pixels=60):
    return torch.randn(1, classes, pixels), torch.randint(0, classes, (1, pixels))


# --- 1: weights made from class indices instead of membership ---------------------------------


def weights_from_class_indices(logits, target):
    rows, labels = logits.softmax(1).movedim(1, -1).flatten(0, 1), target.flatten()
    losses = []
    for c in range(rows.shape[1]):
        errors, order = ((labels == c).float() - rows[:, c]).abs().sort(descending=True)
        losses.append(errors.dot(published.jaccard_weights(labels[order].float())))
    return torch.stack(losses).mean()


def check_definition(loss):
    logits, target = problem()
    rows = logits[0].t().tolist()
    _, want = oracle.lovasz_softmax(rows, target[0].tolist())
    got = gradient_of(loss, logits, target)[0].t()
    assert F.cosine_similarity(got.flatten(), torch.tensor(want).flatten(), dim=0) > 0.999
    wrong = F.one_hot((target + 1) % 5, 5).movedim(-1, 1) * 100.0
    assert loss(wrong, target).item() == pytest.approx(1, abs=1e-3)


# --- 2: float32 differences --------------------------------------------------------------------


def check_no_cancellation(loss):
    logits, target = torch.randn(1, 2, 1_000_000), (torch.rand(1, 1_000_000) < 0.05).long()
    exact = gradient_of(lovasz_softmax, logits.double(), target, method="sort")
    got = gradient_of(loss, logits, target).double()
    assert (got - exact).norm() / exact.norm() < 1e-2  # ours 3e-3, published 3e-2


# --- 3: nothing left after ignoring -------------------------------------------------------------


def empty_tensor_when_all_is_ignored(logits, target, *, ignore_index, per_image=False):
    kept = target.flatten() != ignore_index
    if not kept.any():
        return logits.softmax(1).movedim(1, -1).flatten(0, -2)[kept] * 0.0
    return published.lovasz_softmax(logits, target, ignore_index=ignore_index)


def check_all_ignored(loss):
    logits, target = torch.randn(2, 3, 4, 4), torch.full((2, 4, 4), 255)
    labels = torch.zeros(2, 4, 4, dtype=torch.long)
    for per_image in (False, True):

        def mixed(x, per_image=per_image):
            return F.cross_entropy(x, labels) + loss(
                x, target, ignore_index=255, per_image=per_image
            )

        assert gradient_of(mixed, logits).isfinite().all()
    target[0] = 1
    assert loss(logits, target, ignore_index=255, per_image=True).isfinite()


# --- 4: an argument called logits that wants probabilities --------------------------------------


def logits_taken_for_probabilities(logits, target):
    return published.lovasz_softmax(logits.log(), target)


def check_takes_logits(loss):
    logits, target = problem()
    assert loss(logits, target).item() == pytest.approx(loss(logits + 3, target).item(), abs=1e-5)
    assert 0 <= loss(10 * logits, target) <= 1


# --- 5: classes compared by identity, or not looked at ------------------------------------------


def classes_by_identity(logits, target, classes="present"):
    word = "present"
    chosen = None if classes is word else list(range(logits.shape[1]))
    return published.lovasz_softmax(logits, target, classes=chosen)


def classes_ignored(logits, target, classes="present"):
    return published.lovasz_softmax(logits, target)


def check_classes(loss):
    logits, target = problem()
    target = target.clamp(max=2)  # classes 3 and 4 are absent
    read_from_a_file = "".join(["pre", "sent"])
    assert loss(logits, target, classes=read_from_a_file) == loss(logits, target)
    assert loss(logits, target, classes=read_from_a_file) != loss(logits, target, classes="all")
    assert loss(logits, target, classes=[1]) != loss(logits, target, classes=[0, 1, 2])


# --- 6: labels out of range ----------------------------------------------------------------------


def labels_used_as_indices(logits, target, *, ignore_index=None):
    one_hot = torch.eye(logits.shape[1])[target]  # -1 is the last class
    return published.lovasz_softmax(logits, one_hot.argmax(-1), ignore_index=ignore_index)


def check_labels(loss):
    logits, target = problem()
    target[0, 0] = -1
    with pytest.raises(ValueError, match="got -1"):
        loss(logits, target)
    target[0, 0] = 255
    assert loss(logits, target, ignore_index=255).isfinite()


# --- 7: all channels in one set -------------------------------------------------------------------


def one_set_for_all_channels(logits, target):
    positive = F.one_hot(target, logits.shape[1]).movedim(-1, 1).flatten().float()
    errors, order = (positive - logits.softmax(1).flatten()).abs().sort(descending=True)
    return errors.dot(published.jaccard_weights(positive[order]))


def check_each_class_is_a_set(loss):
    logits, target = problem()
    losses, _ = oracle.class_losses(logits[0].t().tolist(), target[0].tolist())
    assert loss(logits, target).item() == pytest.approx(sum(losses) / 5, abs=1e-3)


# --- 8: dtypes ------------------------------------------------------------------------------------


def float32_only(logits, target):
    positive = F.one_hot(target, logits.shape[1]).movedim(-1, 1).float()
    errors, order = (positive - logits.softmax(1)).abs().flatten().sort(descending=True)
    return torch.dot(errors, published.jaccard_weights(positive.flatten()[order]))


def check_dtypes(loss):
    logits, target = problem()
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        assert gradient_of(loss, logits.to(dtype), target).dtype == dtype


# --- 9: a synchronisation and a sort for each class -----------------------------------------------


class Sorts(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += "sort" in str(function)
        return function(*args, **(kwargs or {}))


def check_one_sort_and_no_synchronisation(loss):
    with Sorts() as sorts:
        loss(*problem())
    assert sorts.count <= 1
    # a tensor without data cannot be waited for
    loss(torch.empty(1, 5, 60, device="meta"), torch.empty(1, 60, dtype=torch.long, device="meta"))


# --- 10: next to nothing to do --------------------------------------------------------------------


def squeezed(logits, target, *, ignore_index=None):
    rows = logits.softmax(1).movedim(1, -1).flatten(0, 1).squeeze()
    labels = target.flatten()
    kept = labels != ignore_index
    rows, labels = rows[kept], labels[kept]
    losses = [(1 - rows[:, c])[labels == c].mean() for c in labels.unique().tolist()]
    return sum(losses) / max(len(losses), 1)


def check_small(loss):
    one_pixel = torch.randn(1, 5, 1)
    assert loss(one_pixel, torch.tensor([[2]])).shape == ()
    nothing = loss(one_pixel, torch.tensor([[9]]), ignore_index=9)
    assert isinstance(nothing, torch.Tensor)
    assert nothing.item() == 0


FAULTS = [
    (check_definition, weights_from_class_indices),
    (check_no_cancellation, published.lovasz_softmax),
    (check_all_ignored, empty_tensor_when_all_is_ignored),
    (check_takes_logits, logits_taken_for_probabilities),
    (check_classes, classes_by_identity),
    (check_classes, classes_ignored),
    (check_labels, labels_used_as_indices),
    (check_each_class_is_a_set, one_set_for_all_channels),
    (check_dtypes, float32_only),
    (check_one_sort_and_no_synchronisation, published.lovasz_softmax),
    (check_small, squeezed),
]


@pytest.mark.parametrize("check", dict.fromkeys(check for check, _ in FAULTS))
@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_ours_has_no_such_fault(check, method):
    def loss(logits, target, **options):
        return lovasz_softmax(logits, target, method=method, **options)

    check(loss)


@pytest.mark.parametrize(("check", "fault"), FAULTS)
def test_the_fault_is_caught(check, fault):
    with pytest.raises(
        (AssertionError, pytest.fail.Exception, RuntimeError, TypeError, IndexError)
    ):
        check(fault)
