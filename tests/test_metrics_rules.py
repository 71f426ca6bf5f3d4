"""Which classes count, and which mean is taken: every combination against plain Python."""

import itertools
import math

import pytest
import torch

from lovasz.metrics import ClassScore, DatasetScore, ImageScore

C = 4
CLASSES = [None, "present", "all", "foreground", [0, 2]]
PRESENT = [None, "target", "union"]
AVERAGES = ["macro", "micro", "weighted"]
SCORES = ["iou", "dice", "accuracy", "precision", "recall"]


def draw(multilabel, seed=0):
    """Images without some of the classes, and one of which nothing is left."""
    random = torch.Generator().manual_seed(seed)
    truth = torch.randint(3, (5, 7), generator=random)
    found = torch.where(torch.rand((5, 7), generator=random) < 0.5, truth, (truth + 2) % C)
    truth[1][truth[1] == 2] = 0
    found[2] = truth[2] = 0
    if multilabel:
        eye = torch.eye(C, dtype=torch.long)
        found, truth = (eye[x].movedim(-1, 1) for x in (found, truth))
        found[3, 1] = 1
    truth[torch.rand(truth.shape, generator=random) < 0.1] = 255
    truth[4] = 255
    if multilabel:
        truth[0, [0, 2]] = 255
    return found, truth


def counts(found, truth, ignored, multilabel):
    """(tp, fp, fn, tn) of each class of one image, from lists."""
    table = []
    for c in range(C):
        pairs = (
            zip(found[c], truth[c], strict=True) if multilabel else zip(found, truth, strict=True)
        )
        label = 1 if multilabel else c
        kept = [(f == label, t == label) for f, t in pairs if t not in ignored]
        table.append(
            [kept.count(x) for x in ((True, True), (True, False), (False, True), (False, False))]
        )
    return table


def score_of(score, tp, fp, fn, tn, multilabel):
    if tp + fp + fn == 0:
        return 1.0
    if score == "accuracy":
        score = "accuracy" if multilabel else "recall"
    above, below = {
        "iou": (tp, tp + fp + fn),
        "dice": (tp, tp + (fp + fn) / 2),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "accuracy": (tp + tn, tp + fp + fn + tn),
    }[score]
    return above / below if below else 0.0


def counts_by(rule, tp, fp, fn, tn):
    return {None: tp + fp + fn + tn, "target": tp + fn, "union": tp + fp + fn}[rule] > 0


def chosen(classes, rule, ignored, multilabel):
    classes = classes or ("all" if multilabel else "present")
    if classes == "present":
        rule = rule or "target"
        return [c for c in range(C) if multilabel or c not in ignored], rule
    named = {"all": range(C), "foreground": range(1, C)}
    return list(classes if isinstance(classes, list) else named[classes]), rule


def by_class(table, score, some, rule, multilabel):
    return {c: score_of(score, *table[c], multilabel) for c in some if counts_by(rule, *table[c])}


def averaged(table, score, average, some, rule, multilabel):
    if average == "micro":
        pooled = [sum(column) for column in zip(*(table[c] for c in some), strict=True)]
        return score_of(score, *pooled, multilabel) if counts_by(rule, *pooled) else math.nan
    scores = by_class(table, score, some, rule, multilabel)
    weights = {c: table[c][0] + table[c][2] if average == "weighted" else 1 for c in scores}
    total = sum(weights.values())
    return sum(weights[c] * scores[c] for c in scores) / total if total else math.nan


def mean(values):
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else math.nan


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("present_in", PRESENT)
@pytest.mark.parametrize("classes", CLASSES, ids=str)
def test_every_rule_and_mean(classes, present_in, multilabel):
    found, truth = draw(multilabel)
    lists = list(zip(found.tolist(), truth.tolist(), strict=True))
    labels = [[255]] if multilabel else [[255], [0, 255], [3, 255]]
    for ignored, score in itertools.product(labels, SCORES):
        tables = [counts(*image, ignored, multilabel) for image in lists]
        whole = [
            [sum(x) for x in zip(*column, strict=True)] for column in zip(*tables, strict=True)
        ]
        some, rule = chosen(classes, present_in, ignored, multilabel)
        options = {
            "classes": classes, "present_in": present_in, "ignore_index": ignored,
            "multilabel": multilabel,
        }  # fmt: skip
        spec = (score, some, rule, multilabel)

        def value(kind, score=score, options=options, **more):
            return kind(C, score, **options, **more)(found, truth).tolist()

        for average in AVERAGES:
            arguments = (score, average, some, rule, multilabel)
            expected = averaged(whole, *arguments)
            assert value(DatasetScore, average=average) == pytest.approx(expected, nan_ok=True)
            each = [averaged(table, *arguments) for table in tables]
            result = value(ImageScore, average=average, reduction="none")
            assert result == pytest.approx(each, nan_ok=True)
            result = value(ImageScore, average=average)
            assert result == pytest.approx(mean(each), nan_ok=True)
        rows = [by_class(table, *spec) for table in tables]
        columns = [mean([row[c] for row in rows if c in row]) for c in range(C)]
        result = value(ClassScore, reduction="none")
        assert result == pytest.approx(columns, nan_ok=True)
        assert value(ClassScore) == pytest.approx(mean(columns), nan_ok=True)
        each = by_class(whole, *spec)
        expected = [each.get(c, math.nan) for c in range(C)]
        assert value(DatasetScore, reduction="none") == pytest.approx(expected, nan_ok=True)
