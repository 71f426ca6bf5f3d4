"""Kernels prove themselves, in Triton's interpreter: sound ones pass, and planted faults do not."""

import inspect
import json
import re
import threading
import warnings

import pytest
import torch

import lovasz
from lovasz.kernels import operators, reference, self_test, small_inputs, verdicts
from lovasz.kernels import triton as gpu
from lovasz.kernels.contract import checked, checked_reduction
from lovasz.kernels.self_test import proven
from lovasz.kernels.triton import chunks, extension, gradient, histograms, reduction, soft, sorting
from lovasz.kernels.triton import upsampling as upsampled
from tests.kernels.cases import labels_of, scores_of

pytestmark = [pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")]

NAMES = ("histogram", "sort_and_extend", "extend", "reduce", "backward", "argmax")
OPERATORS = {name: proven(name, getattr(gpu, name), getattr(reference, name)) for name in NAMES}
IGNORE = 77
DEVICE = "Some Device (sm_1), driver 2, torch 3, Triton 4"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _a_device(monkeypatch, tmp_path):
    """The interpreter, taken for a device that nobody knows."""
    monkeypatch.setattr(verdicts, "identity", lambda _: DEVICE)
    monkeypatch.setenv("LOVASZ_CACHE", str(tmp_path))
    monkeypatch.delenv("LOVASZ_KERNELS", raising=False)
    # The interpreter is slow.
    monkeypatch.setattr(small_inputs, "_LENGTHS", (48, 37))
    monkeypatch.setattr(small_inputs, "_SORTED_LENGTHS", (16, 17))
    monkeypatch.setattr(small_inputs, "_MOST_BINS", 256)
    self_test.forget()
    yield
    self_test.forget()


def add_one(found):
    found[0].view(-1)[3] += 1
    return found


def add_one_and_take_it_elsewhere(found):
    counts = found[0].view(-1)
    counts[counts > 0][0] -= 1
    counts[3] += 1
    counts[4] -= 1
    return found


def scale(number):
    def change(found):
        (found if isinstance(found, torch.Tensor) else found[0]).mul_(number)
        return found

    return change


def one_is(place, number):
    def change(found):
        found[place].view(-1)[0] = number
        return found

    return change


def refuse(_):
    raise RuntimeError("ptxas fatal: unresolved extern\n lots of other lines")


FAULTS = {
    "an exception": ("histogram", histograms, "histogram", refuse, "RuntimeError: ptxas fatal"),
    "one count more": ("histogram", histograms, "histogram", add_one, "counts: expected"),
    "a count elsewhere": (
        "histogram", histograms, "histogram", add_one_and_take_it_elsewhere, "counts: expected"
    ),
    "a log-sum-exp that is no number": (
        "histogram", histograms, "histogram", one_is(1, torch.nan), "lse: expected .*got nan"
    ),
    "a gradient 1 % too large": (
        "backward", gradient, "backward", scale(1.01), "gradient: expected"
    ),
    "a slope": ("extend", extension, "extend", one_is(1, 0.5), "slopes: expected .*got 0.5"),
    "a loss": ("reduce", reduction, "reduce", scale(1.01), "total: expected"),
    "a loss of sorted errors": (
        "sort_and_extend", sorting, "sort_and_extend", scale(1.01), "losses: expected"
    ),
    "a label": (
        "argmax", upsampled, "argmax", lambda found: (found + 1) % 3, "labels: expected"
    ),
    "soft labels": (
        "histogram of soft labels", soft, "histogram", one_is(4, 7.0), "region sums: expected"
    ),
    "interpolated scores": (
        "histogram of interpolated scores", chunks, "histogram", add_one, "counts: expected"
    ),
}  # fmt: skip


def plant(monkeypatch, module, function, fault):
    original = getattr(module, function)
    monkeypatch.setattr(module, function, lambda *a, **k: fault(original(*a, **k)))


def calls():
    """A small call of each kind."""
    scores, target = scores_of((2, 3, 99), "pixels", torch.float32, 2.0), labels_of((2, 3, 99))
    common, sort = (64, IGNORE, False, "softmax"), (IGNORE, False, "softmax", 1.0, 1.0)
    counts, lse, invalid, *_ = reference.histogram(scores, target, *common)
    losses, slopes, present = reference.extend(counts, 1.0, 1.0, False)
    low, upsample = scores[:, :, :20].reshape(2, 3, 1, 4, 5), ([1, 9, 11], "linear")
    interpolated = (False, None, 0.0, None, None, 1, *upsample[::-1])
    tail = (invalid, None, False, True, False, False)
    return {
        "histogram": (scores, target, *common),
        "histogram of soft labels": (scores, scores.softmax(1), *common),
        "histogram of interpolated scores": (low, target, *common, *interpolated),
        "backward": (scores, target, lse, slopes, None, IGNORE, "softmax"),
        "extend": (counts, 1.0, 1.0, False),
        "reduce": (losses, present[1], *tail),
        "sort_and_extend": (scores, target, *sort),
        "argmax": (low, *upsample, False),
    }


def results(found):
    return (found,) if isinstance(found, torch.Tensor) else found


def check(kind, arguments):
    name = kind.partition(" ")[0]
    expected = getattr(reference, name)(*arguments)
    for got, wanted in zip(results(OPERATORS[name](*arguments)), results(expected), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "module", "function", "fault", "said"), FAULTS.values(), ids=FAULTS
)
def test_a_fault_is_one_warning_and_the_reference(
    kind, module, function, fault, said, monkeypatch, tmp_path
):
    every = calls()
    plant(monkeypatch, module, function, fault)
    with pytest.warns(RuntimeWarning, match=f"of {kind} fail their test on Some Device") as warned:
        check(kind, every[kind])
    (message,) = [str(w.message) for w in warned if "lovasz" in str(w.message)]
    assert DEVICE in message
    assert re.search(said, message)
    check(kind, every[kind])  # no second one
    other = "argmax" if kind == "extend" else "extend"
    check(other, every[other])
    assert {failed for failed, _ in self_test._failed} == {kind}
    assert len(list(tmp_path.rglob("*.json"))) == 1  # of the other
    # Of that kind nothing runs any more, whatever the options.
    again = OPERATORS[kind.partition(" ")[0]]
    monkeypatch.setattr(module, function, lambda *_, **__: pytest.fail("kernels were called"))
    if kind == "histogram":
        again(every[kind][0].bfloat16(), *every[kind][1:])


def test_what_ran_before_does_not_run_after_a_fault(monkeypatch):
    scores, *rest = calls()["histogram"]
    check("histogram", (scores, *rest))
    plant(monkeypatch, histograms, "histogram", add_one)
    with pytest.warns(RuntimeWarning, match="counts"):
        OPERATORS["histogram"](scores.half(), *rest)
    check("histogram", (scores, *rest))


@pytest.fixture
def tests_made(monkeypatch):
    """Names of the operators that are tested."""
    made, test = [], self_test._test
    monkeypatch.setattr(
        self_test, "_test", lambda name, *rest: made.append(name) or test(name, *rest)
    )
    return made


def test_a_pass_is_kept_for_later_processes(tests_made, tmp_path):
    arguments = calls()["extend"]
    for _ in range(2):
        check("extend", arguments)
    assert tests_made == ["extend"]
    (file,) = tmp_path.rglob("*.json")
    assert json.loads(file.read_text())["device"] == DEVICE
    self_test.forget()
    check("extend", arguments)
    assert tests_made == ["extend"]
    for content in ("", "{", '"passed"', json.dumps({"device": "another"})):
        file.write_text(content)
        self_test.forget()
        tests_made.clear()
        check("extend", arguments)
        assert tests_made == ["extend"]
        assert json.loads(file.read_text())["device"] == DEVICE


def test_another_driver_or_other_sources_are_tested_anew(tests_made, monkeypatch):
    arguments = calls()["extend"]
    check("extend", arguments)
    monkeypatch.setattr(verdicts, "identity", lambda _: DEVICE.replace("driver 2", "driver 5"))
    self_test.forget()
    check("extend", arguments)
    monkeypatch.setattr(verdicts, "_sources", lambda: "changed")
    self_test.forget()
    check("extend", arguments)
    assert tests_made == ["extend"] * 3


def test_a_folder_that_cannot_be_written(tests_made, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOVASZ_CACHE", str(tmp_path / "file"))
    arguments = calls()["extend"]
    for _ in range(2):
        self_test.forget()
        check("extend", arguments)
    assert tests_made == ["extend"] * 2


def test_a_failure_is_not_kept(tests_made, monkeypatch, tmp_path):
    plant(monkeypatch, extension, "extend", scale(1.01))
    for _ in range(2):
        self_test.forget()
        with pytest.warns(RuntimeWarning, match="losses"):
            check("extend", calls()["extend"])
    assert tests_made == ["extend"] * 2
    assert not list(tmp_path.rglob("*.json"))


def test_on_does_not_test_and_off_does_not_use(tests_made, monkeypatch):
    plant(monkeypatch, extension, "extend", scale(1.01))
    arguments = calls()["extend"]
    wanted = reference.extend(*arguments)[0]
    for value, factor in (("on", 1.01), ("off", 1.0)):
        monkeypatch.setenv("LOVASZ_KERNELS", value)
        self_test.forget()
        torch.testing.assert_close(OPERATORS["extend"](*arguments)[0], factor * wanted)
    assert tests_made == []


def test_check_tests_anew_and_raises(tests_made, monkeypatch, tmp_path):
    arguments = calls()["extend"]
    check("extend", arguments)
    monkeypatch.setenv("LOVASZ_KERNELS", "check")
    self_test.forget()
    check("extend", arguments)
    assert tests_made == ["extend"] * 2
    plant(monkeypatch, extension, "extend", scale(1.01))
    self_test.forget()
    for _ in range(2):
        with pytest.raises(
            RuntimeError, match=f"of extend fail .*{DEVICE[:11]}.*LOVASZ_KERNELS=off"
        ):
            OPERATORS["extend"](*arguments)


def test_another_value_is_one_sentence(monkeypatch):
    monkeypatch.setenv("LOVASZ_KERNELS", "1")
    with pytest.raises(RuntimeError, match=r"to be off, on or check.*got '1'$"):
        OPERATORS["extend"](*calls()["extend"])


def test_threads_test_once(tests_made):
    """By a kernel that is none, as the interpreter knows but one thread."""
    operator = proven("extend", reference.extend, reference.extend)
    arguments, barrier, done = calls()["extend"], threading.Barrier(4), []

    def ask():
        barrier.wait()
        done.append(operator(*arguments)[0])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tests_made == ["extend"]
    assert len(done) == 4


def test_what_differs_in_kind_is_tested_by_itself(tests_made):
    counts, *rest = calls()["extend"]
    check("extend", (counts[:, :, :, :0], *rest))  # nothing is launched, and nothing known of it
    assert tests_made == []
    for scale in (1, 1, 2, 2**20):
        check("extend", (counts, *rest, scale))
    assert tests_made == ["extend"] * 2
    check("extend", (counts, *rest, 1, True))
    check("extend", (counts[..., :50].contiguous(), *rest, 1, True))
    assert tests_made == ["extend"] * 3
    OPERATORS["extend"](counts, *rest, unbounded=True)
    assert tests_made == ["extend"] * 3


def test_a_call_within_a_test_is_not_tested(tests_made, monkeypatch):
    arguments = calls()["extend"]

    def within(*given, **options):
        return OPERATORS["extend"](*arguments) and gpu.extend(*given, **options)

    operator = proven("extend", within, reference.extend)
    operator(*arguments)
    assert tests_made == ["extend"]


def test_nothing_of_torch_is_changed(monkeypatch):
    """Neither its random numbers nor its defaults, which are not to matter either."""
    before = torch.get_rng_state()
    every = calls()
    monkeypatch.setattr(torch, "rand", None)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
            for kind in ("histogram", "extend", "backward"):
                OPERATORS[kind](*every[kind])
        assert torch.is_autocast_enabled("cpu") is False
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(self_test._known.values())
    assert torch.equal(before, torch.get_rng_state())


def test_while_a_graph_is_recorded_plain_torch_is(tests_made, monkeypatch):
    monkeypatch.setattr(self_test, "_is_recording", lambda _: True)
    with pytest.warns(RuntimeWarning, match="CUDA graph is recorded.*call it once before"):
        check("extend", calls()["extend"])
    assert self_test._known == {}
    assert tests_made == []


def test_without_memory_nothing_is_known(monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError

    arguments = calls()["extend"]
    with monkeypatch.context() as patched:
        patched.setattr(extension, "extend", full)
        with pytest.raises(torch.OutOfMemoryError):
            OPERATORS["extend"](*arguments)
    assert self_test._known == {}
    check("extend", arguments)
    assert list(self_test._known.values()) == [True]


def test_a_reference_that_cannot_run_there_is_run_on_the_cpu():
    """As torch's deterministic mode refuses some of its operators on devices."""
    asked = []

    def plain(*arguments, **options):
        asked.append(len(asked))
        if len(asked) == 1:
            raise RuntimeError("does not have a deterministic implementation")
        return reference.extend(*arguments, **options)

    plain.__signature__ = inspect.signature(reference.extend)
    arguments = calls()["extend"]
    proven("extend", gpu.extend, plain)(*arguments)
    assert len(asked) == 2
    assert list(self_test._known.values()) == [True]


@pytest.fixture
def _dispatched():
    """The operators as a device has them, also for tensors of the CPU."""
    assert operators is not None  # defines what is replaced
    library = torch.library.Library("lovasz", "IMPL")
    for name, operator in OPERATORS.items():
        kernel = checked_reduction(operator) if name == "reduce" else checked(name, operator)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warning only once for all operators")
            library.impl(name, kernel, "CPU", allow_override=True)
    yield
    library._destroy()


def in_eager_mode(loss, logits):
    return torch.autograd.grad(loss(logits), logits)[0]


def compiled(loss, logits):
    torch._dynamo.reset()
    loss = torch.compile(loss, fullgraph=True, backend="aot_eager")
    return torch.autograd.grad(loss(logits), logits)[0]


def in_mixed_precision(loss, logits):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits)
    return torch.autograd.grad(value, logits)[0]


def by_transforms(loss, logits):
    return torch.func.vmap(torch.func.grad(loss))(logits.detach().unsqueeze(0))[0]


@pytest.mark.usefixtures("_dispatched")
@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize(
    "gradient_of", [in_eager_mode, compiled, in_mixed_precision, by_transforms]
)
def test_losses_of_every_mode(gradient_of, wrong, monkeypatch, tests_made):
    logits, target = torch.randn(1, 3, 5, 5, requires_grad=True), torch.randint(3, (1, 5, 5))

    def loss(logits):
        return lovasz.lovasz_softmax(logits, target, bins=64)

    expected = in_eager_mode(loss, logits.double().detach().requires_grad_())
    self_test.forget()
    tests_made.clear()
    if wrong:
        plant(monkeypatch, gradient, "backward", scale(1.01))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        got = gradient_of(loss, logits)
    assert len([w for w in warned if "lovasz: " in str(w.message)]) == wrong
    assert sorted(tests_made) == ["backward", "extend", "histogram", "reduce"]
    assert self_test._failed == ({("backward", CPU)} if wrong else set())
    torch.testing.assert_close(got, expected.float(), rtol=1e-4, atol=1e-6)
