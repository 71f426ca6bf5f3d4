"""Loading the library, and life without it."""

import ctypes
import ctypes.util
import subprocess
import sys

import pytest
import torch

from lovasz import lovasz_softmax
from lovasz.core import native
from lovasz.kernels.cpu_library import _parallel_for, load

MISUSE = -2  # LOVASZ_MISUSE

LOSS = (
    "import torch, lovasz; torch.manual_seed(0);"
    "logits = torch.randn(2, 3, 50, requires_grad=True); target = torch.randint(3, (2, 50));"
    "loss = lovasz.lovasz_softmax(logits, target); loss.backward();"
    "lovasz.lovasz_softmax(logits, target); print(f'{loss.item():.5f}')"
)


def run(code, **environment):
    import os

    return subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_without_the_library_it_works():
    alone, compiled = run(LOSS, LOVASZ_KERNELS="off"), run(LOSS, LOVASZ_KERNELS="check")
    assert alone.returncode == compiled.returncode == 0
    assert alone.stdout == compiled.stdout
    assert alone.stderr == compiled.stderr == ""


def test_a_file_that_is_no_library(tmp_path):
    for name in (__file__, str(tmp_path / "none.so")):
        result = run(LOSS, LOVASZ_LIBRARY=name)
        assert result.returncode != 0
        last = result.stderr.strip().splitlines()[-1]
        assert last.startswith("RuntimeError: lovasz: expected LOVASZ_LIBRARY to name the library")
        assert repr(name) in last


def test_a_level_that_does_not_exist():
    result = run(LOSS, LOVASZ_CPU_LEVEL="v9")
    assert result.returncode != 0
    assert "LOVASZ_CPU_LEVEL" in result.stderr


class Losses(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        logits = torch.zeros(1, 3, 5000, requires_grad=True)
        lovasz_softmax(logits, torch.full((1, 5000), index % 3)).backward()
        return logits.grad


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_workers_do_not_hang():
    torch.set_num_threads(2)
    lovasz_softmax(torch.zeros(1, 3, 50000), torch.zeros(1, 50000, dtype=torch.long))
    loader = torch.utils.data.DataLoader(Losses(), num_workers=2, timeout=60)
    assert len(list(loader)) == 4


def test_threads_are_torchs_own():
    assert load() is not None
    assert _parallel_for() is not None


def test_the_library_has_the_layout_of_its_bindings():
    kernels = load()
    count = ctypes.c_int64()
    numbers = kernels.lovasz_layout(ctypes.byref(count))
    assert numbers[: count.value] == native.layout()


@pytest.mark.parametrize("struct", [native.Inputs, native.Reduction])
def test_a_library_with_other_structs_is_refused(struct, monkeypatch):
    fields = list(struct._fields_)
    swapped = type(struct.__name__, (ctypes.Structure,), {"_fields_": fields[::-1]})
    monkeypatch.setattr(native, struct.__name__, swapped)
    with pytest.raises(
        RuntimeError, match=r"expected the compiled kernels .* install lovasz again"
    ):
        native._check_layout(load(), native.find())


def test_a_library_of_another_kind_is_refused():
    libc = ctypes.util.find_library("c")
    result = run(LOSS, LOVASZ_LIBRARY=libc)
    assert result.returncode != 0
    assert "(ABI unknown)" in result.stderr


def test_a_cross_entropy_is_not_sorted():
    """It would be added up in memory that nobody has given."""
    library = load()
    scores, labels = (ctypes.c_float * 8)(*range(8)), (ctypes.c_uint8 * 4)(0, 1, 1, 0)
    lse, numbers = (ctypes.c_double * 4)(), [(ctypes.c_double * 8)() for _ in range(5)]
    inputs = native.Inputs(
        scores=native.Strided(ctypes.addressof(scores), 8, 4, 1),
        target=ctypes.addressof(labels),
        images=1,
        classes=2,
        length=4,
        target_stride=4,
        lse=ctypes.addressof(lse),
    )
    result = native.SortResult(*map(ctypes.addressof, numbers), alpha=1.0, beta=1.0, unit=1)
    for cross_entropy, status in ((0, 0), (1, MISUSE)):
        inputs.cross_entropy = cross_entropy
        call = library.lovasz_sort_and_extend
        assert call(ctypes.byref(inputs), ctypes.byref(result), 1) == status
