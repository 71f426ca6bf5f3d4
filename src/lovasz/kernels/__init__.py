"""The two passes over the logits as torch operators, and their autograd.

========================  =======================================================================
``count``, ``exact``      read scores and labels once: histograms of the errors, or slopes by pixel
``backward``              turns slopes (derivatives by the errors) into the gradient of the scores
========================  =======================================================================

Between them ``weigh`` and ``reduce`` do at once what takes many operators of torch, each of them a
launch on a device. ``reduce`` is where the gradient of the loss begins, see ``autograd``.

The first pass comes in two kinds: for classes that exclude each other, and (``..._channels``) for
channels that are sets of their own. They know links, labels, ``ignore_index``, weights of pixels
and bins, and nothing of set functions, class weights or reductions. PyTorch's dispatcher picks the
implementation by device; ``reference`` and ``channels`` are plain torch, serve every device that
has no kernel of its own, and are the specification.

Shapes: scores (N, C, L) with any strides, target (N, L) or for channels (N, C, L); groups G = N
with ``per_image``, as many as clouds with ``group``, else 1.
"""

from lovasz.core.bins import (
    DEFAULT_BINS,
    bin_centres,
    bin_edges,
    error_bound,
    relative_bound,
    unbounded_bin_centres,
)
from lovasz.kernels.between import images_of, seen_in
from lovasz.kernels.between import reduce as reduce_with_gradient
from lovasz.kernels.calls import (
    Counted,
    Entropy,
    Scores,
    Weighed,
    count,
    exact,
    reduce,
    weigh,
)
from lovasz.kernels.precision import float64_device, wide_dtype
from lovasz.kernels.tables import WEIGHT_UNIT, Groups, good_weight, per_group
from lovasz.kernels.validity import SPARE_LABEL

__all__ = [
    "DEFAULT_BINS",
    "SPARE_LABEL",
    "WEIGHT_UNIT",
    "Counted",
    "Entropy",
    "Groups",
    "Scores",
    "Weighed",
    "bin_centres",
    "bin_edges",
    "count",
    "error_bound",
    "exact",
    "float64_device",
    "good_weight",
    "images_of",
    "per_group",
    "reduce",
    "reduce_with_gradient",
    "relative_bound",
    "seen_in",
    "unbounded_bin_centres",
    "weigh",
    "wide_dtype",
]
