r"""Links: how a score becomes the error of a pixel, where every channel is a set of its own.

With $s = +1$ for the pixels of a channel's set, $s = -1$ for the others, and a score x

=========================  ======================  ===================================
``sigmoid``                $\sigma(-s x)$          logits, error in [0, 1]
``channel_probabilities``  $1 - x$ or $x$          probabilities, error in [0, 1]
``hinge``                  $\max(0, 1 - s x)$      logits, error in [0, ∞)
``elu``                    $\mathrm{elu}(1 - s x) + 1$  logits, error in (0, ∞)
=========================  ======================  ===================================

``softmax`` and ``probabilities`` are the links of classes that exclude each other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MULTICLASS = ("softmax", "probabilities")
PER_CHANNEL = ("sigmoid", "channel_probabilities", "hinge", "elu")
UNBOUNDED = ("hinge", "elu")

# Who is talked to about wrong contents.
FUNCTIONS = {
    "softmax": "lovasz_softmax",
    "probabilities": "lovasz_softmax_from_probabilities",
    "sigmoid": "lovasz_sigmoid",
    "channel_probabilities": "lovasz_sigmoid_from_probabilities",
    "hinge": "lovasz_hinge",
    "elu": "lovasz_hinge",
}
WITH_ENTROPY = {
    "softmax": "cross_entropy_lovasz_softmax",
    "sigmoid": "binary_cross_entropy_lovasz_sigmoid",
}


def function_of(link: str, entropy: bool = False) -> str:
    """The public function that was called, for its error messages."""
    return WITH_ENTROPY[link] if entropy else FUNCTIONS[link]


def channel_errors(scores: Tensor, positive: Tensor, link: str) -> Tensor:
    """Error of every score, in the dtype of the scores."""
    toward = torch.where(positive, -scores, scores)  # grows with the error
    if link == "sigmoid":
        return torch.sigmoid(toward)
    if link == "hinge":
        return F.relu(1 + toward)
    if link == "elu":
        # Not F.elu + 1, which rounds errors below 1e-7 to 0.
        return torch.where(toward > -1, 2 + toward, torch.exp((1 + toward).clamp(max=0.0)))
    return torch.where(positive, 1 - scores, scores).clamp(0.0, 1.0)


def channel_rates(scores: Tensor, positive: Tensor, link: str) -> Tensor:
    """Derivative of every error by its score, differentiable in the scores."""
    toward = torch.where(positive, -scores, scores)
    if link == "sigmoid":
        rate = torch.sigmoid(toward) * torch.sigmoid(-toward)
    elif link == "hinge":
        rate = (1 + toward > 0).to(scores.dtype)
    elif link == "elu":
        rate = torch.exp((1 + toward).clamp(max=0.0))
    else:
        rate = torch.ones_like(toward)
    return torch.where(positive, -rate, rate)
