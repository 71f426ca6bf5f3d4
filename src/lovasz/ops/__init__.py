"""The two passes over the logits, count and push, as torch operators, and their autograd.

========================  =======================================================================
``count``, ``exact``      read scores and labels once: histograms of the errors, or slopes by pixel
``push``, ``push_ranked`` turn slopes (derivatives by the errors) into the gradient of the scores
========================  =======================================================================

They know softmax, labels, ``ignore_index`` and bins, and nothing of set functions, class weights or
reductions. PyTorch's dispatcher picks the implementation by device; ``reference`` is plain torch,
serves every device that has no kernel of its own, and is the specification.

Shapes: scores (N, C, L) with any strides, target (N, L), groups G = N with ``per_image`` else 1.
"""

from lovasz.ops.autograd import attach_counted, attach_ranked
from lovasz.ops.bins import DEFAULT_BINS, bin_centres, bin_edges, error_bound
from lovasz.ops.precision import wide_dtype
from lovasz.ops.schema import Counted, Entropy, count, exact, weigh

__all__ = [
    "DEFAULT_BINS",
    "Counted",
    "Entropy",
    "attach_counted",
    "attach_ranked",
    "bin_centres",
    "bin_edges",
    "count",
    "error_bound",
    "exact",
    "weigh",
    "wide_dtype",
]
