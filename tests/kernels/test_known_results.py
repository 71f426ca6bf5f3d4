"""The compiled library proves itself when it is loaded: known results, and faults."""

import ctypes
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch

import lovasz
from lovasz.core import bins, compiled, known_results, native
from lovasz.core.extension import extend_histogram
from lovasz.core.known_results import BINS, CENTRES, CLASSES, IGNORED, KNOWN, PIXELS
from lovasz.core.set_functions import jaccard
from lovasz.core.upsampling import LINEAR
from lovasz.kernels import cpu, cpu_library, reference
from lovasz.kernels.cpu import load
from tests import oracle

SCORES = torch.tensor(known_results.SCORES, dtype=torch.float64).view(1, CLASSES, PIXELS)
LABELS = torch.tensor(known_results.LABELS).view(1, PIXELS)
CHANNELS = torch.tensor(known_results.CHANNELS).view(1, CLASSES, PIXELS)
WEIGHT = torch.tensor(known_results.CLASS_WEIGHT, dtype=torch.float64)
LINES = torch.tensor(known_results.LINES).view(2, CLASSES)


def projected(values, rows):
    values = values.reshape(rows, -1).double()
    places = torch.arange(1, values.shape[1] + 1)
    return torch.stack((values.sum(1), (values * places).sum(1)), 1).flatten().tolist()


def expected():
    """The known results, by plain torch in float64."""
    counts, lse, invalid, sums, _ = reference.histogram(
        SCORES, LABELS, BINS, IGNORED, False, "softmax", True, WEIGHT
    )
    centres = torch.tensor(CENTRES, dtype=torch.float64)
    losses, slopes = extend_histogram(torch, counts.double(), centres, jaccard)
    present = torch.stack((counts.sum((2, 3)) > 0, counts[:, :, 1].sum(2) > 0))
    total, factors, mean, by_sum = reference.reduce(
        losses, present[1], invalid, WEIGHT, True, True, False, True, sums
    )
    reading = (IGNORED, "softmax")
    factor, scale = WEIGHT.view(1, -1), torch.tensor(0.25, dtype=torch.float64)
    gradient = reference.backward(SCORES, LABELS, lse, slopes, factor, *reading, scale, WEIGHT)
    sort = reference.sort_and_extend(SCORES, LABELS, IGNORED, False, "softmax", 1.0, 1.0)
    by_pixel = reference.backward(SCORES, LABELS, lse, sort[1], factor, *reading)
    channels = reference.histogram(SCORES, CHANNELS, BINS, None, False, "sigmoid")[0]
    of_channels = reference.backward(
        SCORES, CHANNELS, torch.empty(0), slopes, factor, None, "sigmoid"
    )
    labels = reference.argmax(SCORES[:, :, None, None], (1, 1, 2 * PIXELS), LINEAR, True)
    above = reference.argmax(SCORES, None, None, True, LINES, True)
    return {
        "lovasz_clouds": (1, 0, 2, 3, 5, 1, 4, 3, 0, 2, 3, 0, 4, 2, 1),
        "lovasz_histogram": counts.flatten().tolist(),
        "the cross-entropy of lovasz_histogram": sums.tolist(),
        "the losses of lovasz_extend": [
            *losses.flatten().tolist(),
            *present.int().flatten().tolist(),
        ],
        "the slopes of lovasz_extend": projected(slopes, 2 * CLASSES),
        "lovasz_reduce": [float(total), float(mean), float(by_sum), *factors.flatten().tolist()],
        "lovasz_backward": projected(gradient, CLASSES),
        "lovasz_sort_and_extend": [n for found in (sort[0], *sort[2:4]) for n in found[0].tolist()],
        "the slopes of lovasz_sort_and_extend": projected(sort[1], CLASSES),
        "lovasz_backward by pixel": projected(by_pixel, CLASSES),
        "lovasz_histogram of channels": channels.flatten().tolist(),
        "lovasz_argmax of channels": above.flatten().tolist(),
        "lovasz_backward of channels": projected(of_channels, CLASSES),
        "lovasz_argmax": labels.flatten().tolist(),
    }


def test_known_results_are_those_of_plain_torch():
    wanted = expected()
    assert wanted.keys() == KNOWN.keys()
    for name, values in wanted.items():
        assert list(map(type, values)) == list(map(type, KNOWN[name])), name
        assert KNOWN[name] == pytest.approx(values, rel=0, abs=1e-8), name


def test_known_gradients_are_those_of_the_definition():
    rows, labels = SCORES[0].t().tolist(), LABELS[0].tolist()
    losses, by_class = oracle.class_losses(rows, labels, ignore_index=IGNORED)
    assert KNOWN["lovasz_sort_and_extend"][:CLASSES] == pytest.approx(losses, abs=1e-7)
    gradient = torch.tensor(by_class, dtype=torch.float64)  # of each loss, (C, pixel, class)
    weighted = (WEIGHT.view(-1, 1, 1) * gradient).sum(0).t()
    got = KNOWN["lovasz_backward by pixel"]
    assert got == pytest.approx(projected(weighted, CLASSES), abs=1e-7)


def test_no_error_lies_at_the_edge_of_a_bin_and_no_two_are_equal():
    """Or the counts and slopes of a level might rightly be others."""
    p = SCORES.softmax(1)
    assert torch.cat((p, 1 - p), 2).sort(2)[0].diff().min() > 1e-3
    signs = torch.where(CHANNELS == 1, -SCORES, SCORES)
    for errors, rest in ((p, 1 - p), (1 - p, p), (signs.sigmoid(), (-signs).sigmoid())):
        place = bins.position(torch, errors, BINS, complements=rest)
        inside = place[place < BINS - 1] % 1
        assert inside.min() > 1e-4
        assert inside.max() < 1 - 1e-4
    twice = torch.nn.functional.interpolate(SCORES, scale_factor=2, mode="linear")
    first, second = twice.topk(2, dim=1)[0].unbind(1)
    assert (first - second).min() > 1e-3


@pytest.mark.usefixtures("level")
def test_every_level_gives_them():
    assert known_results.difference(load()) is None


def spoil(address, kind, place, change):
    pointer = ctypes.cast(address, ctypes.POINTER(kind))
    pointer[place] = change(pointer[place])


class Faulty:
    """A library one of whose functions computes something else."""

    def __init__(self, library, name, fault):
        self._library, self._name, self._fault = library, name, fault

    def __getattr__(self, name):
        function = getattr(self._library, name)
        if name != self._name:
            return function

        def faulty(*arguments):
            status = function(*arguments)
            self._fault(*arguments)
            return status

        return faulty


def more(number):
    return number + 1


def scaled(number):
    return number * 1.01


FAULTS = {
    "one count": ("lovasz_histogram", lambda _, r, *__: spoil(r.counts, ctypes.c_int64, 5, more)),
    "a count of channels": (
        "lovasz_histogram",
        lambda i, r, *_: i.link == 1 and spoil(r.counts, ctypes.c_int64, 40, more),
    ),
    "the cross-entropy": (
        "lovasz_histogram",
        lambda _, r, *__: r.cross_entropy.__setitem__(0, r.cross_entropy[0] * 1.00001),
    ),
    "a loss": ("lovasz_extend", lambda e, *_: spoil(e.losses, ctypes.c_double, 2, scaled)),
    "a slope": ("lovasz_extend", lambda e, *_: spoil(e.slopes, ctypes.c_float, 31, scaled)),
    "no number": (
        "lovasz_reduce",
        lambda r, *_: spoil(r.total, ctypes.c_float, 0, lambda _: math.nan),
    ),
    "a slope of a pixel": (
        "lovasz_sort_and_extend",
        lambda _, r, *__: spoil(r.slopes, ctypes.c_float, 44, scaled),
    ),
    "a gradient": (
        "lovasz_backward",
        lambda *a: spoil(a[6].data, ctypes.c_float, 18, scaled),
    ),
    "a label": ("lovasz_argmax", lambda _, __, out, *___: spoil(out, ctypes.c_uint8, 0, more)),
    "a cloud": ("lovasz_clouds", lambda *a: spoil(a[3], ctypes.c_int64, 1, more)),
}


@pytest.fixture
def opened(monkeypatch):
    """Opens another library in the place of the compiled one."""

    def clear():
        for function in (cpu_library.load, compiled.load, compiled._load):
            function.cache_clear()

    def choose(library):
        monkeypatch.setattr(native, "open_library", lambda _: library)
        clear()

    monkeypatch.delenv("LOVASZ_KERNELS", raising=False)
    yield choose
    clear()


def loss_and_gradient():
    logits = SCORES.float().requires_grad_()
    loss = lovasz.lovasz_softmax(logits, LABELS, ignore_index=IGNORED, method="sort", classes="all")
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.item(), gradient


@pytest.mark.parametrize(("name", "fault"), FAULTS.values(), ids=FAULTS.keys())
def test_a_library_with_a_fault_computes_nothing(name, fault, opened):
    faulty = Faulty(load(), name, fault)
    assert known_results.difference(faulty) is not None
    opened(faulty)
    with pytest.warns(RuntimeWarning, match=f"{name}.*expected.*plain PyTorch") as warned:
        loss, gradient = loss_and_gradient()
    assert len(warned) == 1
    assert cpu.level() is None
    losses, by_class = oracle.class_losses(
        SCORES[0].t().tolist(), LABELS[0].tolist(), ignore_index=IGNORED
    )
    assert loss == pytest.approx(sum(losses) / CLASSES, abs=1e-6)
    wanted = torch.tensor(by_class).sum(0).t() / CLASSES
    torch.testing.assert_close(gradient[0], wanted, rtol=1e-4, atol=1e-6)


def test_a_library_that_refuses_computes_nothing(opened):
    class Refusing(Faulty):
        def __getattr__(self, name):
            return (lambda *_: -2) if name == self._name else getattr(self._library, name)

    library = load()
    for name in ("lovasz_histogram", "lovasz_sort_and_extend", "lovasz_backward", "lovasz_argmax"):
        opened(Refusing(library, name, None))
        with pytest.warns(RuntimeWarning, match=name):
            assert compiled.load() is None


def test_check_raises_and_on_and_off_do_not_look(opened, monkeypatch):
    library = load()
    faulty = Faulty(library, *FAULTS["a gradient"])
    for value, found in (("off", None), ("on", faulty)):
        monkeypatch.setenv("LOVASZ_KERNELS", value)
        opened(faulty)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert compiled.load() is found
    monkeypatch.setenv("LOVASZ_KERNELS", "check")
    opened(faulty)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"lovasz_backward.*LOVASZ_KERNELS=off"):
            compiled.load()
    opened(library)
    assert compiled.load() is library


def test_another_value_is_one_sentence(opened, monkeypatch):
    opened(load())
    monkeypatch.setenv("LOVASZ_KERNELS", "fast")
    with pytest.raises(RuntimeError, match=r"LOVASZ_KERNELS to be off, on or check.*got 'fast'$"):
        compiled.load()


def test_without_a_library_one_warning(opened, monkeypatch):
    opened(None)
    monkeypatch.setattr(native, "find", lambda: None)
    with pytest.warns(RuntimeWarning, match="no compiled kernels") as warned:
        loss_and_gradient()
    assert len(warned) == 1
    loss_and_gradient()  # and no second one


def test_threads_that_load_at_once_warn_once(opened):
    opened(Faulty(load(), *FAULTS["one count"]))
    barrier, found = threading.Barrier(4), []

    def ask():
        barrier.wait()
        found.append(compiled.load())

    def ask_at_once():
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with pytest.warns(RuntimeWarning, match="wrong results") as warned:
        ask_at_once()
    assert found == [None] * 4
    assert len(warned) == 1


def test_a_miscompiled_library_computes_nothing(tmp_path):
    """Compiled with a fault, and loaded by a process of its own."""
    compiler = shutil.which("c++")
    if compiler is None or sys.platform == "win32":
        pytest.skip("needs a C++ compiler and dlopen")
    here, library = Path(__file__).parent, tmp_path / "faulty.so"
    options = ["-shared", "-fPIC", f'-DLOVASZ_REAL="{native.find()}"', "-ldl", "-o", str(library)]
    source = [f"-I{here.parents[1] / 'csrc'}", str(here / "faulty_library.cpp")]
    plainly = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run([compiler, *source, *options], env=plainly, check=True, timeout=60)
    code = (
        "import torch, lovasz;"
        "logits = torch.tensor([[[1.0, 0.5, -0.25], [0.0, 1.0, 0.5]]], requires_grad=True);"
        "lovasz.lovasz_softmax(logits, torch.tensor([[0, 1, 0]])).backward();"
        "print(logits.grad.flatten().tolist())"
    )
    environment = os.environ | {"LOVASZ_LIBRARY": str(library), "LOVASZ_KERNELS": ""}
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr.count("Warning") == 1
    assert "faulty.so compute wrong results (number 0 of lovasz_backward: expected" in done.stderr
    logits = torch.tensor([[[1.0, 0.5, -0.25], [0.0, 1.0, 0.5]]], requires_grad=True)
    lovasz.lovasz_softmax(logits, torch.tensor([[0, 1, 0]])).backward()
    gradient = torch.tensor(json.loads(done.stdout))
    torch.testing.assert_close(gradient, logits.grad.flatten(), rtol=1e-5, atol=1e-7)
