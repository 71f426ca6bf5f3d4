"""Results of the compiled library that are known, which it has to give before it is used.

A library that was compiled wrongly, or for another processor, may load and compute nonsense. So
each entry point computes a few pixels whose results stand below. Counts have to be equal, and
numbers to be within `TOLERANCE`, some ten times the rounding of float32.

The numbers are those of plain torch in float64: `tests/kernels/test_known_results.py` computes them
anew, and compares the gradient with the definition. Of the gradients there are sums, by which each
element is multiplied by another number, its place: a wrong one changes them.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from lovasz.core.native import (
    Extension,
    HistogramResult,
    Inputs,
    Reduction,
    SortResult,
    Strided,
)

TOLERANCE = 2e-6

CLASSES, PIXELS, BINS, IGNORED = 3, 19, 8, 7
ROWS = 2 * CLASSES * BINS

# Scores (C, L) are odd sixteenths, which every dtype holds; no two errors are equal.
SCORES = [((3 * i * i + 23 * i) % 61 - 29.5) / 8 for i in range(CLASSES * PIXELS)]
LABELS = [IGNORED if i % 7 == 4 else (5 * i + 2) % CLASSES for i in range(PIXELS)]
CHANNELS = [(i * i + i // 5) % 3 % 2 for i in range(CLASSES * PIXELS)]
CENTRES = [0.0, 0.02, 0.1, 0.3, 0.6, 0.8, 0.95, 1.0]
CLASS_WEIGHT = [0.5, 2.0, 1.0]
LINES = [*CLASS_WEIGHT, 1.0, 0.25, -1.0]

_TABLE = """
lovasz_clouds: 1 0 2 3 5 1 4 3 0 2 3 0 4 2 1
lovasz_histogram: 3 2 1 2 1 0 2 0 0 1 1 1 0 0 2 0 3 4 0 1 0 2 0 1 0 0 1 0 0 0 3 1 0 4 2 0 1 2 1
    0 1 0 0 0 1 1 1 2
the cross-entropy of lovasz_histogram: 43.56954538 18.5
the losses of lovasz_extend: 0.64022727 0.85694444 0.80001984 1 1 1 1 1 1
the slopes of lovasz_extend: 0.44481144 2.84075924 1.00257243 5.15061189 0.22638889 1.63055556
    1.04471154 5.32804487 0.25009921 1.6453869 0.87619048 4.59107143
lovasz_reduce: 0.80972068 2.35511056 0.05405405 0.14285714 0.57142857 0.28571429
lovasz_backward: 1.03948334 10.51387322 -1.41170235 -15.28155198 0.37221901 4.76767876
lovasz_sort_and_extend: 0.644296 0.8635549 0.79659819 5 5 6 16 16 16
the slopes of lovasz_sort_and_extend: 1.0 9.08124098 1.0 8.65277778 1.0 8.5471695
lovasz_backward by pixel: 0.02919953 0.33127981 -0.05161373 -0.66102438 0.0224142 0.32974458
lovasz_histogram of channels: 1 5 0 0 1 2 3 0 1 0 2 0 1 2 1 0 1 6 2 1 1 1 0 0 1 1 2 0 1 2 0 0 0
    3 2 1 2 2 3 0 0 1 0 2 1 1 1 0
lovasz_argmax of channels: 0 1 1 1 1 0 0 0 0 1 1 0 1 0 1 1 1 1 1 1 0 1 0 1 0 0 0 0 0 0 1 1 0 0 1 0
    0 0 0 0 1 0 0 0 1 0 0 0 0 0 1 0 0 0 1 0 0
lovasz_backward of channels: -0.02491231 -0.07596572 -0.2549182 -2.74881017 -0.06577479
    -0.58074879
lovasz_argmax: 1 1 2 2 0 0 0 0 1 1 1 1 2 2 2 2 2 2 2 0 0 0 2 1 1 1 1 0 0 0 0 0 0 2 0 0 0 0
"""


def _read(table: str) -> dict[str, tuple[float, ...]]:
    """Whole numbers and others by the name before them."""
    known: dict[str, tuple[float, ...]] = {}
    for line in table.replace("\n    ", " ").strip().splitlines():
        name, _, numbers = line.partition(": ")
        known[name] = tuple(float(n) if "." in n else int(n) for n in numbers.split())
    return known


KNOWN = _read(_TABLE)


def difference(library: ctypes.CDLL) -> str | None:
    """The first result that is another than the known one, in words; None if there is none."""
    for name, values in results(library):
        for place, (value, known) in enumerate(zip(values, KNOWN[name], strict=True)):
            exact = isinstance(known, int)
            near = value == known if exact else abs(value - known) <= TOLERANCE * max(1, abs(known))
            if not near:  # NaN is not near anything
                return f"number {place} of {name}: expected {known}, got {value}"
    return None


def results(library: ctypes.CDLL) -> Iterator[tuple[str, Sequence[float]]]:
    """What the entry points make of these scores and labels, by name."""
    yield "lovasz_clouds", _clouds(library)
    scores, labels, lse = _floats(SCORES), (ctypes.c_uint8 * PIXELS)(*LABELS), _doubles(PIXELS)
    class_weight = _floats(CLASS_WEIGHT)
    inputs = _inputs(scores, labels, link=0, lse=ctypes.addressof(lse))
    inputs.class_weight, inputs.cross_entropy = ctypes.addressof(class_weight), 1
    inputs.has_ignore_index, inputs.ignore_index = 1, IGNORED
    counts, invalid, sums = _histogram(library, inputs)
    yield "lovasz_histogram", counts[:]
    yield "the cross-entropy of lovasz_histogram", sums[:]

    losses, slopes, present = _extend(library, counts)
    yield "the losses of lovasz_extend", [*losses, *present]
    yield "the slopes of lovasz_extend", _projected(slopes[:], 2 * CLASSES)
    yield "lovasz_reduce", _reduce(library, losses, present, invalid, sums)
    yield "lovasz_backward", _backward(library, inputs, slopes, by_pixel=False)

    found = [_doubles(CLASSES), _longs(CLASSES), _longs(CLASSES)]
    by_pixel = _floats(CLASSES * PIXELS)
    pointers = [ctypes.addressof(array) for array in (by_pixel, *found, invalid)]
    result = SortResult(*pointers, alpha=1.0, beta=1.0, unit=1)
    inputs.cross_entropy = 0  # which is not sorted
    _call(library.lovasz_sort_and_extend, inputs, result)
    yield "lovasz_sort_and_extend", [number for array in found for number in array]
    yield "the slopes of lovasz_sort_and_extend", _projected(by_pixel[:], CLASSES)
    yield "lovasz_backward by pixel", _backward(library, inputs, by_pixel, by_pixel=True)
    yield from _of_channels(library, slopes)
    yield "lovasz_argmax", _argmax(library, scores)


def _of_channels(
    library: ctypes.CDLL, slopes: ctypes.Array[Any]
) -> Iterator[tuple[str, Sequence[float]]]:
    """Sigmoids of each channel; a score is followed by those of the other channels of its pixel."""
    by_point = [SCORES[c * PIXELS + i] for i in range(PIXELS) for c in range(CLASSES)]
    labels = (ctypes.c_uint8 * len(CHANNELS))(*CHANNELS)
    # A bfloat16 is the upper half of a float.
    upper = [struct.unpack("<HH", struct.pack("<f", score))[1] for score in by_point]
    halves = (ctypes.c_uint16 * len(upper))(*upper)
    inputs = _inputs(halves, labels, link=1, by_point=True)
    inputs.target_class_stride, inputs.score_type = PIXELS, 1
    yield "lovasz_histogram of channels", _histogram(library, inputs)[0][:]
    lines, above = _floats(LINES), (ctypes.c_uint8 * len(CHANNELS))()
    pointers = ctypes.addressof(lines), ctypes.addressof(above)
    _call(library.lovasz_argmax, inputs, *pointers, 1)
    yield "lovasz_argmax of channels", above[:]
    scores = _floats(by_point)
    inputs.scores.data, inputs.score_type = ctypes.addressof(scores), 0
    yield "lovasz_backward of channels", _backward(library, inputs, slopes, by_pixel=False)


def _clouds(library: ctypes.CDLL) -> list[int]:
    ids, found = (ctypes.c_int64 * 5)(2, 0, 2, 1, 0), [_longs(4), _longs(5), _longs(5)]
    pointers = [ctypes.addressof(array) for array in found]
    status = library.lovasz_clouds(ctypes.addressof(ids), 5, 3, *pointers)
    return [status, *(number for array in found for number in array)]


def _inputs(
    scores: ctypes.Array[Any],
    labels: ctypes.Array[Any],
    *,
    link: int,
    lse: int | None = None,
    by_point: bool = False,
) -> Inputs:
    return Inputs(
        scores=_strided(scores, by_point),
        target=ctypes.addressof(labels),
        target_stride=len(labels),
        images=1,
        classes=CLASSES,
        length=PIXELS,
        bins=BINS,
        lse=lse,
        link=link,
    )


def _histogram(library: ctypes.CDLL, inputs: Inputs) -> tuple[Any, Any, Any]:
    """Counts, invalid pixels, and the sums of the cross-entropy."""
    counts, invalid = _longs(ROWS), _longs(1)
    result = HistogramResult(ctypes.addressof(counts), ctypes.addressof(invalid))
    _call(library.lovasz_histogram, inputs, result)
    return counts, invalid, result.cross_entropy


def _extend(library: ctypes.CDLL, counts: ctypes.Array[Any]) -> tuple[Any, Any, Any]:
    """Losses, slopes, and which classes are present."""
    losses, slopes, present = _doubles(CLASSES), _floats(ROWS), (ctypes.c_uint8 * (2 * CLASSES))()
    centres = (ctypes.c_double * BINS)(*CENTRES)
    pointers = [ctypes.addressof(array) for array in (counts, centres, losses, slopes, present)]
    library.lovasz_extend(Extension(*pointers, CLASSES, BINS, 1, 1.0, 1.0), 1)
    return losses, slopes, present


def _reduce(
    library: ctypes.CDLL,
    losses: ctypes.Array[Any],
    active: ctypes.Array[Any],
    invalid: ctypes.Array[Any],
    sums: ctypes.Array[Any],
) -> list[float]:
    """The loss, factors of the classes, mean cross-entropy and its derivative."""
    weight, factors, numbers = _floats(CLASS_WEIGHT), _floats(CLASSES), _floats(3)
    read = [ctypes.addressof(array) for array in (losses, active, invalid, weight, factors, sums)]
    first = ctypes.addressof(numbers)
    written = [first, first + 4, first + 8]
    library.lovasz_reduce(Reduction(*read, *written, 1, CLASSES, mean=1, normalize=1))
    return [*numbers, *factors]


def _backward(
    library: ctypes.CDLL, inputs: Inputs, slopes: ctypes.Array[Any], *, by_pixel: bool
) -> list[float]:
    """Sums of the gradient of each class."""
    gradient, factors = _floats(CLASSES * PIXELS), _floats(CLASS_WEIGHT)
    by_point = inputs.scores.class_stride == 1
    _call(
        library.lovasz_backward,
        inputs,
        ctypes.addressof(slopes),
        by_pixel,
        ctypes.addressof(factors),
        0.25,
        None,
        _strided(gradient, by_point),
    )
    values = gradient[:]
    if by_point:
        values = [number for c in range(CLASSES) for number in values[c::CLASSES]]
    return _projected(values, CLASSES)


def _argmax(library: ctypes.CDLL, scores: ctypes.Array[Any]) -> Sequence[int]:
    """Labels of the scores, interpolated to twice as many pixels."""
    labels = (ctypes.c_uint8 * (2 * PIXELS))()
    inputs = _inputs(scores, labels, link=0)
    inputs.length, inputs.upsample = 2 * PIXELS, 1
    inputs.source[:], inputs.size[:] = (1, 1, PIXELS), (1, 1, 2 * PIXELS)
    _call(library.lovasz_argmax, inputs, None, ctypes.addressof(labels), 1)
    return labels[:]


def _call(function: Any, inputs: Inputs, *arguments: Any) -> None:
    """In one thread; what is refused is not written, and so no known result."""
    function(inputs, *arguments, 1)


def _projected(values: Sequence[float], rows: int) -> list[float]:
    """The sum of each row, and that of its elements multiplied by their places from 1 on."""
    size = len(values) // rows
    sums = []
    for row in (values[first : first + size] for first in range(0, len(values), size)):
        sums += [sum(row), sum((i + 1) * number for i, number in enumerate(row))]
    return sums


def _strided(scores: ctypes.Array[Any], by_point: bool) -> Strided:
    strides = (1, CLASSES) if by_point else (PIXELS, 1)
    return Strided(ctypes.addressof(scores), CLASSES * PIXELS, *strides)


def _floats(values: Sequence[float] | int) -> ctypes.Array[Any]:
    """Of values, or so many zeros."""
    if isinstance(values, int):
        return (ctypes.c_float * values)()
    return (ctypes.c_float * len(values))(*values)


def _doubles(size: int) -> ctypes.Array[Any]:
    return (ctypes.c_double * size)()


def _longs(size: int) -> ctypes.Array[Any]:
    return (ctypes.c_int64 * size)()
