"""What check_labels says."""

import pytest
import torch

from lovasz import check_labels

INTEGERS = [torch.uint8, torch.int8, torch.uint16, torch.int32, torch.int64]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels_in_range_pass(dtype):
    check_labels(torch.tensor([[0, 1], [2, 100]], dtype=dtype), 3, ignore_index=100)
    check_labels(torch.zeros(0, 3, dtype=dtype), 1)


def test_bool_and_single_labels_pass():
    check_labels(torch.tensor([True, False]), 2)
    check_labels(torch.tensor(4), 5)


@pytest.mark.parametrize(
    ("target", "ignore_index", "sentence"),
    [
        (
            torch.tensor([[0, 3], [9, 4]]),
            None,
            r"=None, got 3 at \(0, 1\) \(and 2 more",
        ),
        (torch.tensor([0, -1, 255]), 255, r"ignore_index=255, got -1 at \(1,\) \(and 0 more"),
        (torch.tensor([0, 255], dtype=torch.uint8), -1, r"got 255 at \(1,\)"),
        (torch.tensor(7), None, r"got 7 at \(\)"),
        (torch.tensor([2**63 + 5], dtype=torch.uint64), None, "got 9223372036854775813 at"),
    ],
)
def test_the_first_label_out_of_range_is_named(target, ignore_index, sentence):
    with pytest.raises(ValueError, match=r"^check_labels: expected .* \[0, 2\] .*" + sentence):
        check_labels(target, 3, ignore_index=ignore_index)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (([0], 3), TypeError, "target to be a tensor, got list"),
        ((torch.zeros(2), 3), TypeError, "target of an integer dtype .* got torch.float32"),
        ((torch.zeros(2).long(), 0), ValueError, "num_classes to be 1 or more"),
        ((torch.zeros(2).long(), 2.0), TypeError, "num_classes to be"),
    ],
)
def test_wrong_arguments(arguments, error, sentence):
    with pytest.raises(error, match="^check_labels: expected " + sentence):
        check_labels(*arguments)
    with pytest.raises(TypeError, match=r"^check_labels: expected ignore_index to be"):
        check_labels(torch.zeros(2).long(), 3, ignore_index=0.5)
