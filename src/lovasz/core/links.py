r"""Links: how a score becomes the error of a pixel.

Classes exclude each other: a pixel has one label, and of the class c with the probability $p_c$ the
error $1 - p_c$ if c is its label and $p_c$ if it is not. $p$ is the softmax of the scores
(``softmax``) or the scores themselves (``probabilities``).

In multilabel segmentation, of which binary segmentation is the case of one channel, every channel
has a label of its own. With $s = +1$ for the pixels of a channel's set, $s = -1$ for the others,
and a score x

=========================  ======================  ===================================
``sigmoid``                $\sigma(-s x)$          logits, error in [0, 1]
``channel_probabilities``  $1 - x$ or $x$          probabilities, error in [0, 1]
``hinge``                  $\max(0, 1 - s x)$      logits, error in [0, ∞)
``elu``                    $\mathrm{elu}(1 - s x) + 1$  logits, error in (0, ∞)
=========================  ======================  ===================================
"""

from __future__ import annotations

MULTICLASS = ("softmax", "probabilities")
MULTILABEL = ("sigmoid", "channel_probabilities", "hinge", "elu")
UNBOUNDED = ("hinge", "elu")
# By the activation of the margin.
MARGINS = {"relu": "hinge", "elu": "elu"}
PROBABILITIES = ("probabilities", "channel_probabilities")
# Losses that cross-entropy can be added to: those of logits, which have probabilities.
LOGITS = ("softmax", "sigmoid", *UNBOUNDED)

# The public function of each link, for sentences about wrong contents.
_FUNCTIONS = {
    "softmax": "lovasz_softmax",
    "probabilities": "lovasz_softmax_from_probabilities",
    "sigmoid": "lovasz_sigmoid",
    "channel_probabilities": "lovasz_sigmoid_from_probabilities",
    "hinge": "lovasz_hinge",
    "elu": "lovasz_hinge",
}
_WITH_CROSS_ENTROPY = {
    "softmax": "cross_entropy_lovasz_softmax",
    "sigmoid": "binary_cross_entropy_lovasz_sigmoid",
    "hinge": "binary_cross_entropy_lovasz_hinge",
    "elu": "binary_cross_entropy_lovasz_hinge",
}


def function_of(link: str, cross_entropy: bool = False) -> str:
    """The public function that was called, for its error messages."""
    return _WITH_CROSS_ENTROPY[link] if cross_entropy else _FUNCTIONS[link]
