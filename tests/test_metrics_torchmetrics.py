"""The metrics among those of torchmetrics: plots, collections, states, scripting, processes."""

import copy
import inspect
import io
import pickle

import pytest
import torch
import torch.multiprocessing as mp
from torchmetrics import ClasswiseWrapper, MetricCollection, MetricTracker

from lovasz.metrics import ClassIoU, ClassScore, DatasetIoU, DatasetScore, ImageIoU, ImageScore
from tests.processes import start_processes

C = 3
KINDS = {
    "dataset": lambda **options: DatasetIoU(C, **options),
    "image": lambda **options: ImageIoU(C, worst=(10, 100), **options),
    "class": lambda **options: ClassScore(C, "dice", **options),
    "masks": lambda **options: ImageScore(C, "precision", multilabel=True, **options),
}


def pair(seed=0, masks=False):
    random = torch.Generator().manual_seed(seed)
    truth = torch.randint(C, (4, 3, 5), generator=random)
    logits = torch.randn(4, C, 3, 5, generator=random)
    if masks:
        truth = torch.nn.functional.one_hot(truth, C).movedim(-1, 1)
    return logits, truth


def both(kind, **options):
    """A metric, and inputs for it."""
    return KINDS[kind](**options), pair(masks=kind == "masks")


# --- signatures


PAIRS = [(DatasetIoU, DatasetScore), (ImageIoU, ImageScore), (ClassIoU, ClassScore)]


@pytest.mark.parametrize(("iou", "score"), PAIRS)
def test_ious_have_the_arguments_of_their_scores(iou, score):
    mine, theirs = (dict(inspect.signature(kind).parameters) for kind in (iou, score))
    theirs.pop("score")
    assert mine == theirs
    assert list(mine) == list(theirs)


@pytest.mark.parametrize("kind", [DatasetScore, ImageScore, ClassScore])
def test_every_argument_is_described_and_kept(kind):
    parameters = list(inspect.signature(kind).parameters)
    for name in parameters:
        assert f"        {'**' if name == 'kwargs' else ''}{name}: " in kind.__doc__, name
    given = {
        "num_classes": 2,
        "score": "dice",
        "classes": [1],
        "present_in": "union",
        "average": "micro",
        "reduction": "mean",
        "ignore_index": [4, 5],
        "worst": 5,
        "multilabel": True,
        "threshold": 0.25,
        "from_logits": False,
        "upsample": "bilinear",
        "align_corners": True,
    }
    chosen = {name: given[name] for name in parameters if name != "kwargs"}
    metric = kind(**chosen)
    assert {name: getattr(metric, name) for name in chosen} == chosen


# --- plots


@pytest.fixture
def pyplot(monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_plot(pyplot, kind, reduction):
    metric, inputs = both(kind, reduction=reduction)
    first = metric(*inputs)
    label = {"class": "ClassScore (dice)", "masks": "ImageScore (precision)"}
    for values in (None, first, [first, metric.compute(), first]):
        figure, axes = metric.plot(values)
        assert figure is not None
        assert axes.get_ylabel() == label.get(kind, type(metric).__name__)
        lines = [line.get_ydata() for line in axes.get_lines() if len(line.get_ydata())]
        shown = torch.tensor([float(x) for line in lines for x in line]).double()
        steps = 3 if isinstance(values, list) else 1
        expected = torch.stack([first.flatten()] * steps).T.flatten()
        assert set(expected.float().tolist()) <= set(shown.float().tolist())
    _, axes = pyplot.subplots()
    figure, same = metric.plot(ax=axes)
    assert figure is None
    assert same is axes


def test_plot_of_a_collection(pyplot):
    group = MetricCollection({"iou": DatasetIoU(C), "dice": DatasetScore(C, "dice")})
    group.update(*pair())
    assert len(group.plot()) == 2


def test_legend_of_classes(pyplot):
    metric, inputs = both("dataset", reduction="none")
    metric.update(*inputs)
    _, axes = metric.plot()
    assert axes.get_legend_handles_labels()[1] == ["Class 0", "Class 1", "Class 2"]


# --- collections and wrappers


def test_scores_share_counts():
    group = MetricCollection(
        {
            "iou": DatasetIoU(C, reduction="none"),
            "dice": DatasetScore(C, "dice", average="weighted"),
            "pixels": DatasetScore(C, "accuracy", average="micro"),
        }
    )
    for seed in range(2):
        group.update(*pair(seed))
    assert len(group.compute_groups) == 1
    alone = DatasetScore(C, "accuracy", average="micro")
    for seed in range(2):
        alone.update(*pair(seed))
    assert group.compute()["pixels"] == alone.compute()


def test_counts_that_are_equal_by_chance_are_not_shared():
    """The first batch has no ignored label, as for a label that few images have."""
    metrics = {
        "all": DatasetIoU(C),
        "some": DatasetIoU(C, ignore_index=0),
        "others": DatasetIoU(C, ignore_index=[2, 5]),
    }
    group = MetricCollection({name: metric.clone() for name, metric in metrics.items()})
    logits, truth = pair()
    for labels in (torch.ones_like(truth), truth):
        group.update(logits, labels)
        for metric in metrics.values():
            metric.update(logits, labels)
    assert {name: value.item() for name, value in group.compute().items()} == {
        name: metric.compute().item() for name, metric in metrics.items()
    }


def _first_state(one, other):
    """When torchmetrics 1.6 has two metrics share their counts."""
    first = next(iter(one._defaults))
    states = [getattr(metric, first) for metric in (one, other)]
    return states[0].shape == states[1].shape and bool((states[0] == states[1]).all())


def test_no_counts_are_shared_for_equal_first_states(monkeypatch):
    equal = staticmethod(_first_state)
    monkeypatch.setattr(MetricCollection, "_equal_metric_states", equal)
    metrics = {
        "dataset": DatasetIoU(C),
        "dice": DatasetScore(C, "dice"),
        "image": ImageIoU(C),
        "class": ClassIoU(C),
        "some": ClassIoU(C, ignore_index=0),
    }
    group = MetricCollection({name: metric.clone() for name, metric in metrics.items()})
    for seed in range(2):
        group.update(*pair(seed))
        for metric in metrics.values():
            metric.update(*pair(seed))
    members = sorted(map(sorted, group.compute_groups.values()))
    assert members == [["class", "image"], ["dataset", "dice"], ["some"]]
    assert group.compute() == {name: metric.compute() for name, metric in metrics.items()}


def test_a_collection_passes_on_clouds_and_masks():
    images, labels = pair()
    logits, truth = images.movedim(1, -1).flatten(0, -2), labels.flatten()
    index, mask = torch.arange(60) // 15, truth == 2
    metrics = {"dataset": DatasetIoU(C), "image": ImageIoU(C)}
    group = MetricCollection({name: metric.clone() for name, metric in metrics.items()})
    group.update(logits, truth, batch_index=index, ignore_mask=mask)
    metrics["dataset"].update(logits, truth, ignore_mask=mask)
    metrics["image"].update(images, labels, ignore_mask=mask.view(4, 3, 5))
    assert group.compute() == {name: metric.compute() for name, metric in metrics.items()}


def test_wrappers():
    logits, truth = pair()
    metric = ClasswiseWrapper(DatasetIoU(C, reduction="none"), labels=["sky", "road", "tree"])
    metric.update(logits, truth)
    each = DatasetIoU(C, reduction="none")
    each.update(logits, truth)
    assert list(metric.compute().values()) == list(each.compute())
    tracker = MetricTracker(ImageIoU(C))
    for labels in (logits.argmax(1), truth):
        tracker.increment()
        tracker.update(labels, truth)
    assert tracker.best_metric() == 1


# --- states


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_states(kind):
    metric, inputs = both(kind)
    metric.update(*inputs)
    value = metric.compute()
    for other in (pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric), metric.clone()):
        assert other.compute() == value
        other.update(*inputs)
        other.compute()
    assert metric.compute() == value
    assert not metric.state_dict()
    metric.persistent(True)
    buffer = io.BytesIO()
    torch.save(metric.state_dict(), buffer)
    buffer.seek(0)
    fresh = KINDS[kind]()
    fresh.persistent(True)
    fresh.load_state_dict(torch.load(buffer))
    fresh._update_count = 1  # which torchmetrics does not save
    assert fresh.compute() == value


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_16_bits_keeps_the_counts(kind):
    metric, inputs = both(kind)
    metric.update(*inputs)
    value = metric.compute()
    network = torch.nn.Sequential(torch.nn.Linear(1, 1), metric)
    for convert in (
        network.half,
        lambda: network.to(torch.bfloat16),
        network.double,
        lambda: metric.set_dtype(torch.half),
    ):
        convert()
        metric._computed = None
        counts = metric.counts if isinstance(metric.counts, list) else [metric.counts]
        assert {table.dtype for table in (*counts, metric.invalid)} == {torch.int64}
        assert metric.compute() == value
    metric.update(*inputs)
    assert metric.compute() == pytest.approx(value)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_can_be_merged(kind):
    whole, (logits, truth) = both(kind)
    whole.update(logits, truth)
    parts = [KINDS[kind]() for _ in range(2)]
    for number, part in enumerate(parts):
        part.update(logits[2 * number : 2 * number + 2], truth[2 * number : 2 * number + 2])
    parts[0].merge_state(parts[1])
    assert parts[0].compute() == whole.compute()


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_was_seen(kind):
    metric, inputs = both(kind)
    assert metric.compute().isnan()
    metric.update(*inputs)
    metric.reset()
    assert metric.compute().isnan()
    each = KINDS[kind](reduction="none").compute()
    assert each.shape == ((0,) if kind in ("image", "masks") else (C,))


@pytest.mark.parametrize("kind", KINDS)
def test_counts_kept_on_the_cpu(kind):
    metric, inputs = both(kind, compute_on_cpu=True)
    usual, _ = both(kind)
    for _ in range(2):
        metric.update(*inputs)
        usual.update(*inputs)
    assert metric.compute() == usual.compute()


def test_counts_are_exact_beyond_24_bits():
    metric = DatasetScore(2, "accuracy", average="micro")
    metric.update(torch.zeros(4, dtype=torch.long), torch.tensor([0, 0, 0, 1]))
    metric.counts *= 2**40
    metric.update(torch.zeros(1, dtype=torch.long), torch.tensor([1]))
    assert metric.counts[1].tolist() == [0, 0, 2**40 + 1, 3 * 2**40]
    assert metric.compute().item() == 3 * 2**40 / (2**42 + 1)


# --- scripting and compiling


class Network(torch.nn.Module):
    """Holds a metric, and updates it where it is not scripted."""

    def __init__(self, metric):
        super().__init__()
        self.layer = torch.nn.Conv2d(C, C, 1)
        self.metric = metric

    def forward(self, images, target):
        logits = self.layer(images)
        if not torch.jit.is_scripting():
            self.metric.update(logits, target)
        return logits


@pytest.mark.filterwarnings("ignore:This property will be removed:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_scripting_a_network_that_holds_a_metric(kind):
    metric, (images, target) = both(kind, ignore_index=[7, 9], classes=[0, 2])
    network = Network(metric)
    expected = network(images, target)
    value = metric.compute()
    scripted = torch.jit.script(network)
    torch.testing.assert_close(scripted(images, target), expected)
    assert metric.compute() == value
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer)
    buffer.seek(0)
    torch.testing.assert_close(torch.jit.load(buffer)(images, target), expected)
    torch.testing.assert_close(
        torch.jit.freeze(torch.jit.script(network.eval()))(images, target), expected
    )
    torch.jit.script(metric)


@pytest.mark.parametrize("kind", ["dataset", "masks"])
def test_compiling_a_step_that_updates_a_metric(kind):
    metric, (logits, target) = both(kind)
    usual, _ = both(kind)
    usual.update(logits, target)

    def step(logits, target):
        metric.update(logits, target)
        return 2 * logits

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(logits, target), 2 * logits)
    assert metric.compute() == usual.compute()
    compiled(logits, target + 100)  # nothing is looked at; it shows at the end
    metric._computed = None
    assert metric.compute().isnan()


# --- processes


def _metrics():
    return {
        "union": DatasetIoU(C, present_in="union", ignore_index=[0, 9]),
        "pixels": DatasetScore(C, "accuracy", average="micro"),
        "weighted": ImageScore(C, "dice", average="weighted"),
        "clouds": ClassIoU(C),
        "masks": ImageIoU(C, multilabel=True, worst=50),
    }


def _update(metrics, images):
    logits, truth = pair()
    for image in images:
        x, y = logits[image : image + 1], truth[image : image + 1]
        for name, metric in metrics.items():
            if name == "masks":
                metric.update(x, torch.nn.functional.one_hot(y, C).movedim(-1, 1))
            elif name == "clouds":
                metric.update(
                    x[0].flatten(1).t(), y.flatten(), batch_index=torch.arange(15) // (4 + image)
                )
            else:
                metric.update(x, y, ignore_mask=y == 2)


def _rank(rank, path, results):
    torch.set_num_threads(1)
    meet = f"file://{path}"
    torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    metrics = _metrics()
    _update(metrics, range(3) if rank == 0 else range(3, 4))
    results.put({name: metric.compute().item() for name, metric in metrics.items()})
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes(tmp_path):
    alone = _metrics()
    _update(alone, range(4))
    results = mp.get_context("forkserver").SimpleQueue()
    start_processes(_rank, (tmp_path / "meet", results), 2)
    expected = {name: metric.compute().item() for name, metric in alone.items()}
    assert [results.get() for _ in range(2)] == [expected] * 2
