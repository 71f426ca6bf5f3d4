"""What works with F.cross_entropy works with every loss: torch's own tools, loss by loss."""

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.distributed.tensor import Shard, distribute_tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

import lovasz
from lovasz.core.options import DEFAULT_BINS

CLASSES = 4


def multiclass(dtype=torch.float32, shape=(2, CLASSES, 5, 3)):
    target = torch.randint(CLASSES, (shape[0], *shape[2:]))
    target[..., :1] = 255
    return (2 * torch.randn(shape)).to(dtype), target


def multilabel(dtype=torch.float32, shape=(2, CLASSES, 5, 3)):
    target = torch.randint(2, shape)
    target[..., :1] = 255
    return (2 * torch.randn(shape)).to(dtype), target


def soft(make, link):
    """Soft labels in the place of hard ones, some of which are 0."""

    def made(dtype=torch.float32, shape=(2, CLASSES, 5, 3)):
        labels = link(2 * torch.randn(shape)).to(dtype)
        labels[..., :1] = 0
        return make(dtype, shape)[0], labels

    return made


def probabilities(make, link):
    def made(*arguments):
        logits, target = make(*arguments)
        return link(logits), target

    return made


def upsampled(make):
    """Labels of about twice the resolution of the logits."""

    def made(dtype=torch.float32, shape=(2, CLASSES, 5, 3)):
        height, width = shape[2:]
        target = make(dtype, (*shape[:2], 2 * height + 1, 2 * width + 2))[1]
        return make(dtype, shape)[0], target

    return made


SETS = {"multilabel": True, "ignore_index": 255}
BILINEAR = {"ignore_index": 255, "upsample": "bilinear"}
# Function, its options, and what makes scores and labels.
LOSSES = {
    "softmax": (lovasz.lovasz_softmax, {"ignore_index": 255}, multiclass),
    "softmax probabilities": (
        lovasz.lovasz_softmax_from_probabilities,
        {"ignore_index": 255},
        probabilities(multiclass, lambda x: x.softmax(1)),
    ),
    "cross-entropy": (lovasz.cross_entropy_lovasz_softmax, {"ignore_index": 255}, multiclass),
    "sigmoid": (lovasz.lovasz_sigmoid, SETS, multilabel),
    "sigmoid probabilities": (
        lovasz.lovasz_sigmoid_from_probabilities,
        SETS,
        probabilities(multilabel, torch.sigmoid),
    ),
    "hinge": (lovasz.lovasz_hinge, SETS, multilabel),
    "elu": (lovasz.lovasz_hinge, {**SETS, "activation": "elu"}, multilabel),
    "binary cross-entropy": (lovasz.binary_cross_entropy_lovasz_sigmoid, SETS, multilabel),
    "cross-entropy upsampled": (
        lovasz.cross_entropy_lovasz_softmax,
        BILINEAR,
        upsampled(multiclass),
    ),
    "soft labels": (lovasz.lovasz_softmax, {}, soft(multiclass, lambda x: x.softmax(1))),
    "Dice": (lovasz.cross_entropy_dice, {"ignore_index": 255}, multiclass),
}
# Those that differ from a row above in a formula alone: a few tests are enough.
KINDRED = {
    "soft labels and Dice": (
        lovasz.cross_entropy_lovasz_softmax,
        {"region": lovasz.SoftDice()},
        soft(multiclass, lambda x: x.softmax(1)),
    ),
    "binary cross-entropy and hinge": (lovasz.binary_cross_entropy_lovasz_hinge, SETS, multilabel),
    "Dice of sigmoids": (lovasz.binary_cross_entropy_dice, SETS, multilabel),
    "Dice alone": (lovasz.dice_loss, {"ignore_index": 255, "pooled": True}, multiclass),
    "Jaccard": (lovasz.jaccard_loss, {"ignore_index": 255, "squared": True}, multiclass),
    "Jaccard metric": (
        lovasz.jaccard_metric_loss,
        {**SETS, "activation": "sigmoid"},
        multilabel,
    ),
    "Tversky": (
        lovasz.tversky_loss,
        {"alpha": 0.3, "beta": 0.7, "gamma": 1.5},
        soft(multiclass, lambda x: x.softmax(1)),
    ),
    "generalised Dice": (
        lovasz.generalized_dice_loss,
        {"label_smoothing": 0.1, "ignore_index": 255},
        multiclass,
    ),
    "soft probabilities": (
        lovasz.lovasz_sigmoid_from_probabilities,
        SETS,
        soft(probabilities(multilabel, torch.sigmoid), torch.sigmoid),
    ),
    "hinge of two classes": (
        lovasz.cross_entropy_lovasz_hinge,
        {"ignore_index": 255},
        lambda *arguments: (
            multilabel(*arguments)[0][:, :2],
            multilabel(*arguments)[1][:, 0],
        ),
    ),
}
MODULES = {
    "LovaszSoftmaxLoss": ({"ignore_index": 255, "weight": [1.0, 2.0, 3.0, 4.0]}, multiclass),
    "CrossEntropyLovaszSoftmaxLoss": ({"ignore_index": 255, "momentum": 0.9}, multiclass),
    "LovaszSigmoidLoss": ({**SETS, "symmetric": True}, multilabel),
    "LovaszHingeLoss": ({**SETS, "activation": "elu"}, multilabel),
    "BinaryCrossEntropyLovaszSigmoidLoss": ({**SETS, "pos_weight": [1.0] * CLASSES}, multilabel),
    "BinaryCrossEntropyLovaszHingeLoss": (SETS, multilabel),
    "CrossEntropyDiceLoss": ({"ignore_index": 255, "momentum": 0.9}, multiclass),
    "BinaryCrossEntropyDiceLoss": (SETS, multilabel),
    "DiceLoss": ({"ignore_index": 255, "squared": True}, multiclass),
    "JaccardLoss": ({**SETS, "activation": "sigmoid"}, multilabel),
    "JaccardMetricLoss": ({"ignore_index": 255, "label_smoothing": 0.1}, multiclass),
    "TverskyLoss": ({"ignore_index": 255, "alpha": 0.3, "beta": 0.7}, multiclass),
    "GeneralizedDiceLoss": ({"ignore_index": 255}, multiclass),
}
SORT = {"method": "sort"}
EVERY_LOSS = pytest.mark.parametrize("name", LOSSES)
EVERY_MODULE = pytest.mark.parametrize("name", MODULES)
# Losses with cross-entropy know one method.
FUSED = ("cross-entropy", "binary cross-entropy", "cross-entropy upsampled", "Dice")
EVERY_WAY = pytest.mark.parametrize(
    ("name", "method"),
    [(name, {}) for name in LOSSES] + [(name, SORT) for name in LOSSES if name not in FUSED],
)


def loss_of(name, **more):
    function, options, _ = {**LOSSES, **KINDRED}[name]
    return lambda scores, target: function(scores, target, **options, **more)


def inputs_of(name, *arguments):
    return {**LOSSES, **KINDRED}[name][2](*arguments)


def leave_out(target):
    """Make labels ignored ones, or those of no class."""
    target[...] = 0 if target.is_floating_point() else 255


def module_of(name):
    options, make = MODULES[name]
    return getattr(lovasz, name)(**options), *make()


def value_and_gradient(loss, scores, target):
    scores = scores.detach().clone().requires_grad_()
    value = loss(scores, target)
    return value.detach(), torch.autograd.grad(value, scores)[0]


def assert_same(got, want):
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_the_tables_have_every_loss():
    functions = {function.__name__ for function, _, _ in (*LOSSES.values(), *KINDRED.values())}
    public = {
        name for name in lovasz.__all__ if "lovasz_" in name or name.endswith(("_loss", "_dice"))
    }
    assert functions == public
    assert set(MODULES) == {name for name in lovasz.__all__ if name.endswith("Loss")}


@EVERY_WAY
def test_autocast_keeps_sixteen_bits(name, method):
    scores, target = inputs_of(name, torch.bfloat16)
    loss = loss_of(name, **method)
    want = value_and_gradient(loss, scores, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = value_and_gradient(loss, scores, target)
    assert got[0].dtype == torch.float32
    assert got[1].dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@EVERY_LOSS
def test_no_wide_copy_of_the_scores_is_kept(name):
    scores, target = inputs_of(name, torch.bfloat16)
    pixels = len(scores) * target.shape[-2] * target.shape[-1]  # the log-sum-exp of each is kept
    kept = []

    def pack(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(name)(scores.requires_grad_(), target)
    assert all(
        tensor.dtype in (torch.bfloat16, torch.int64)
        for tensor in kept
        if tensor.numel() >= max(scores.numel(), pixels + 1) and tensor.shape[-1] != DEFAULT_BINS
    )


@EVERY_WAY
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_whole(name, method, dynamic):
    torch._dynamo.reset()
    loss = loss_of(name, **method)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    inputs = inputs_of(name)
    assert_same(value_and_gradient(compiled, *inputs), value_and_gradient(loss, *inputs))


@EVERY_LOSS
def test_other_labels_and_sizes_compile_nothing_anew(name):
    torch._dynamo.reset()
    loss = loss_of(name)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(loss, fullgraph=True, backend=counter, dynamic=True)
    compiled(*inputs_of(name))
    frames = counter.frame_count
    for shape in ((2, CLASSES, 5, 3), (3, CLASSES, 7, 4)):
        scores, target = inputs_of(name, torch.float32, shape)
        leave_out(target[1:])  # other classes are present, other pixels count
        torch.testing.assert_close(compiled(scores, target), loss(scores, target))
    assert counter.frame_count == frames


@EVERY_WAY
def test_the_loss_can_be_changed_in_place(name, method):
    loss = loss_of(name, **method)
    scores, target = inputs_of(name)
    (expected,) = torch.autograd.grad(loss(scores.requires_grad_(), target) * 0.5 + 1, scores)
    value = loss(scores, target)
    value *= 0.5
    value += 1
    (got,) = torch.autograd.grad(value, scores)
    assert torch.equal(got, expected)


class Sum(nn.Module):
    """A loss that is added to cross-entropy, so that a gradient that is lost is lost in silence."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def forward(self, scores, target):
        return scores.float().square().mean() + 2 * self.loss(scores, target)


def exported(module, inputs, **options):
    return torch.export.export(module, inputs, **options)


RECORDERS = {
    "export": lambda module, inputs: exported(module, inputs).module(),
    "strict export": lambda module, inputs: exported(module, inputs, strict=True).module(),
    "decomposed export": lambda module, inputs: (
        exported(module, inputs).run_decompositions().module()
    ),
    "unflattened export": lambda module, inputs: torch.export.unflatten(exported(module, inputs)),
    "make_fx": lambda module, inputs: make_fx(module)(*inputs),
    "make_fx before autograd": lambda module, inputs: make_fx(module, pre_dispatch=True)(*inputs),
    "jit.trace": torch.jit.trace,
}


@EVERY_WAY
@pytest.mark.parametrize("recorder", RECORDERS)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_what_is_recorded_has_its_gradient(name, method, recorder):
    module = Sum(loss_of(name, **method))
    inputs = inputs_of(name)
    recorded = RECORDERS[recorder](module, inputs)
    assert_same(value_and_gradient(recorded, *inputs), value_and_gradient(module, *inputs))


@EVERY_MODULE
def test_modules_are_exported(name):
    module, scores, target = module_of(name)
    module.eval()
    recorded = torch.export.export(module, (scores, target)).module()
    assert_same(
        value_and_gradient(recorded, scores, target), value_and_gradient(module, scores, target)
    )


def test_the_gradient_of_class_weights_is_recorded():
    scores, target = multiclass()

    def loss(scores, target, weight):
        return lovasz.lovasz_softmax(scores, target, ignore_index=255, weight=weight)

    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))

        def forward(self, scores, target):
            return loss(scores, target, self.weight)

    module = Weighted()
    recorded = torch.export.export(module, (scores, target)).module()
    scores.requires_grad_()
    want = torch.autograd.grad(module(scores, target), (scores, module.weight))
    got = torch.autograd.grad(recorded(scores, target), (scores, recorded.weight))
    assert_same(got, want)


@pytest.mark.slow
@EVERY_WAY
@pytest.mark.parametrize("transform", ["grad", "vmap of grad"])
def test_compiles_whole_under_transforms(name, method, transform):
    torch._dynamo.reset()
    gradient = torch.func.grad(loss_of(name, **method))
    scores, target = inputs_of(name)
    if transform == "vmap of grad":
        gradient, scores, target = torch.func.vmap(gradient), scores[:, None], target[:, None]
    compiled = torch.compile(gradient, fullgraph=True, backend="aot_eager")
    assert_same((compiled(scores, target),), (gradient(scores, target),))


@EVERY_LOSS
def test_the_compiled_gradient_by_inductor(name):
    torch._dynamo.reset()
    module = Sum(loss_of(name))
    compiled = torch.compile(module, fullgraph=True)
    inputs = inputs_of(name)
    assert_same(value_and_gradient(compiled, *inputs), value_and_gradient(module, *inputs))


@pytest.mark.slow
def test_a_package_of_aot_inductor_has_value_and_gradient(tmp_path):
    def step(scores, target):
        loss = lovasz.cross_entropy_lovasz_softmax(scores, target, ignore_index=255)
        return loss, torch.autograd.grad(loss, scores)[0]

    class Step(nn.Module):
        def forward(self, scores, target):
            return step(scores, target)

    scores, target = multiclass()
    scores.requires_grad_()
    package = torch._inductor.aoti_compile_and_package(
        torch.export.export(Step(), (scores, target)), package_path=str(tmp_path / "step.pt2")
    )
    compiled = torch._inductor.aoti_load_package(package)
    assert_same(compiled(scores, target), step(scores, target))


@EVERY_WAY
def test_forward_mode_is_refused(name, method):
    scores, target = inputs_of(name)
    loss = loss_of(name, **method)
    with pytest.raises(RuntimeError, match="jvp"):
        torch.func.jvp(lambda x: loss(x, target), (scores,), (torch.ones_like(scores),))


@EVERY_WAY
def test_func_grad(name, method):
    loss = loss_of(name, **method)
    scores, target = inputs_of(name)
    want = value_and_gradient(loss, scores, target)
    gradient, value = torch.func.grad_and_value(loss)(scores, target)
    assert_same((value, gradient), want)


@EVERY_WAY
def test_vmap(name, method):
    loss = loss_of(name, **method)
    scores, target = inputs_of(name)
    want = torch.stack([loss(x, y) for x, y in zip(scores[:, None], target[:, None], strict=True)])
    got = torch.func.vmap(loss)(scores[:, None], target[:, None])
    torch.testing.assert_close(got, want)
    gradients = torch.func.vmap(torch.func.grad(loss))(scores[:, None], target[:, None])
    for one, x, y in zip(gradients, scores[:, None], target[:, None], strict=True):
        torch.testing.assert_close(one, value_and_gradient(loss, x, y)[1])


@EVERY_MODULE
def test_functional_call(name):
    module, scores, target = module_of(name)
    network = nn.Sequential(nn.Conv2d(CLASSES, CLASSES, 1), module)
    module.eval()
    want = module(network[0](scores), target)

    def loss(parameters):
        features = torch.func.functional_call(network[0], parameters, (scores,))
        return torch.func.functional_call(module, dict(module.named_buffers()), (features, target))

    got = loss(dict(network[0].named_parameters()))
    torch.testing.assert_close(got, want)


@EVERY_LOSS
def test_checkpointing(name):
    loss = loss_of(name)
    scores, target = inputs_of(name)
    got = value_and_gradient(
        lambda x, y: checkpoint(loss, x, y, use_reentrant=False), scores, target
    )
    assert_same(got, value_and_gradient(loss, scores, target))


@EVERY_LOSS
@pytest.mark.parametrize("per_image", [False, True])
def test_derivatives(name, per_image):
    scores, target = inputs_of(name, torch.float64, (2, CLASSES, 3, 2))
    # Counting gives a slope to errors that share a bin and so do not change the loss.
    exact = {"lovasz_weight": 0.0} if name in FUSED else SORT
    exact = {} if name == "Dice" else exact
    loss = loss_of(name, per_image=per_image, **exact)
    assert gradcheck(lambda x: loss(x, target), scores.requires_grad_())


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "Dice"])
def test_a_counted_loss_is_a_step_function(name):
    scores, target = inputs_of(name, torch.float64, (2, CLASSES, 3, 2))
    loss = loss_of(name, **({"cross_entropy_weight": 0.0} if name in FUSED else {}))
    scores.requires_grad_()
    assert not gradcheck(lambda x: loss(x, target), scores, raise_exception=False)
    # as the documentation says
    if name not in FUSED:
        assert gradcheck(lambda x: loss_of(name, **SORT)(x, target), scores)


@EVERY_WAY
def test_second_derivatives(name, method):
    scores, target = inputs_of(name, torch.float64, (1, CLASSES, 2, 3))
    loss = loss_of(name, **method)
    assert gradgradcheck(lambda x: loss(x, target), scores.requires_grad_())


@pytest.mark.parametrize("name", KINDRED)
def test_kindred_losses_compile_are_exported_and_transformed(name):
    torch._dynamo.reset()
    loss = loss_of(name)
    inputs = inputs_of(name)
    want = value_and_gradient(loss, *inputs)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert_same(value_and_gradient(compiled, *inputs), want)
    module = Sum(loss)
    recorded = exported(module, inputs).module()
    assert_same(value_and_gradient(recorded, *inputs), value_and_gradient(module, *inputs))
    gradient, value = torch.func.grad_and_value(loss)(*inputs)
    assert_same((value, gradient), want)
    each = torch.func.vmap(loss)(*(tensor[:, None] for tensor in inputs))
    torch.testing.assert_close(each[0], loss(*(tensor[:1] for tensor in inputs)))


@pytest.mark.parametrize("name", [name for name in KINDRED if name != "soft probabilities"])
def test_derivatives_of_kindred_losses(name):
    scores, target = inputs_of(name, torch.float64, (1, CLASSES, 2, 3))
    counted = KINDRED[name][0].__name__.partition("_lovasz_")[1]
    loss = loss_of(name, **({"lovasz_weight": 0.0} if counted else {}))
    assert gradcheck(lambda x: loss(x, target), scores.requires_grad_())
    assert gradgradcheck(lambda x: loss(x, target), scores)


@EVERY_WAY
def test_the_default_dtype_changes_nothing(name, method):
    loss = loss_of(name, **method)
    scores, target = inputs_of(name)
    want = value_and_gradient(loss, scores, target)
    torch.set_default_dtype(torch.float64)
    try:
        got = value_and_gradient(loss, scores, target)
    finally:
        torch.set_default_dtype(torch.float32)
    assert got[0].dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@EVERY_WAY
def test_inference_mode(name, method):
    loss = loss_of(name, **method)
    scores, target = inputs_of(name)
    want = loss(scores, target)
    with torch.inference_mode():
        assert torch.equal(loss(scores, target), want)


@EVERY_MODULE
def test_modules_are_copied_pickled_and_restored(name):
    module, scores, target = module_of(name)
    module(scores, target)  # a window remembers it
    module.eval()
    want = module(scores, target)
    fresh = module_of(name)[0]
    fresh.load_state_dict(module.state_dict())
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), fresh.eval()):
        assert torch.equal(other(scores, target), want)


@EVERY_MODULE
def test_modules_show_what_was_chosen(name):
    shown = repr(module_of(name)[0])
    assert shown.startswith(f"{name}(")
    assert "ignore_index=255" in shown
    assert ("set_function=jaccard" in shown) == ("Lovasz" in name)


@EVERY_MODULE
def test_modules_take_the_options_of_their_function(name):
    kind = getattr(lovasz, name)
    ours = set(inspect.signature(kind).parameters) - {"momentum"}
    pixels = {"pixel_weight", "ignore_mask", "offsets", "batch_index", "batch_size"}
    pixels.add("target_weight")
    scores = {"logits", "target"}
    theirs = set(inspect.signature(kind.function).parameters) - pixels - scores - {"window"}
    assert ours == theirs


@EVERY_WAY
@pytest.mark.parametrize("kind", ["meta", "fake"])
def test_tensors_without_data(name, method, kind):
    loss = loss_of(name, **method)
    scores, target = inputs_of(name)
    if kind == "meta":
        value, gradient = value_and_gradient(loss, scores.to("meta"), target.to("meta"))
    else:
        mode = FakeTensorMode()
        scores, target = mode.from_tensor(scores), mode.from_tensor(target)
        with mode:
            value, gradient = value_and_gradient(loss, scores, target)
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert gradient.shape == scores.shape


# What can be asked of every loss, for scores (2, CLASSES, 5, 3).
FURTHER = {
    "all classes": {"classes": "all"},
    "some classes": {"classes": [0, 2]},
    "weight": {"weight": [1.0, 2.0, 3.0, 4.0]},
    "by image": {"per_image": True, "reduction": "none"},
    "pixel_weight": {"pixel_weight": torch.rand},
    "ignore_mask": {"ignore_mask": torch.rand},
}


@EVERY_LOSS
@pytest.mark.parametrize("further", FURTHER)
def test_no_option_looks_at_data_that_are_not_on_the_host(name, further):
    scores, target = (tensor.to("meta") for tensor in inputs_of(name))
    options = dict(FURTHER[further])
    if name in FUSED:
        options.pop("reduction", None)
        if "weight" in options:
            options = {"pos_weight" if "binary" in name else "weight": options["weight"]}
    for option in options.keys() & {"pixel_weight", "ignore_mask"}:
        shape = target.shape
        if target.is_floating_point():  # of classes: one weight for each pixel
            shape = shape[:1] + shape[2:]
        options[option] = options[option](shape, device="meta")
    if "ignore_mask" in options:
        options["ignore_mask"] = options["ignore_mask"] > 0.5
    scores.requires_grad_()
    value = loss_of(name, **options)(scores, target)
    assert torch.autograd.grad(value.sum(), scores)[0].shape == scores.shape


def test_a_list_of_weights_is_looked_at_on_the_host():
    scores, target = (tensor.to("meta") for tensor in multiclass())
    with pytest.raises(ValueError, match=r"weight to be finite .*, got \[1.0, -2.0"):
        lovasz.lovasz_softmax(scores, target, weight=[1.0, -2.0, 3.0, 4.0])


def test_a_list_of_weights_follows_the_default_device():
    torch.set_default_device("meta")
    try:
        assert lovasz.LovaszSoftmaxLoss(weight=[1.0, 2.0]).weight.device.type == "meta"
    finally:
        torch.set_default_device(None)
    assert lovasz.LovaszSoftmaxLoss(weight=[1.0, 2.0]).weight.device.type == "cpu"


@EVERY_WAY
@pytest.mark.parametrize("shape", [(0, CLASSES, 5, 3), (2, CLASSES, 0, 3)])
def test_an_empty_batch(name, method, shape):
    if 0 in shape[1:] and "upsampled" in name:
        pytest.skip("nothing can be interpolated to what is empty, see tests/test_upsampling.py")
    value, gradient = value_and_gradient(
        loss_of(name, **method), *inputs_of(name, torch.float32, shape)
    )
    assert value == 0
    assert gradient.shape == shape


@pytest.fixture
def mesh():
    """One process that is a group."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_distributed_tensors_have_a_sentence(mesh):
    for name in LOSSES:
        scores, target = inputs_of(name)
        shared = distribute_tensor(scores, mesh, [Shard(0)])
        function = LOSSES[name][0].__name__
        with pytest.raises(TypeError, match=f"^{function}: expected .* own part, got a DTensor"):
            loss_of(name)(shared, target)
        assert loss_of(name)(shared.to_local(), target) == loss_of(name)(scores, target)


class Marked(torch.Tensor):
    """A subclass as libraries of images have them."""


@EVERY_LOSS
def test_subclasses_are_tensors(name):
    loss = loss_of(name)
    scores, target = inputs_of(name)
    got = loss(scores.as_subclass(Marked), target.as_subclass(Marked))
    assert got.item() == loss(scores, target).item()
