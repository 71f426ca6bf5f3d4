"""The losses for the Trainer of Hugging Face transformers, without importing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lovasz.losses.distributed import ranks_of

__all__ = ["TrainerLoss"]

# Labels that the Trainer does not count, whatever the loss ignores.
_NOT_COUNTED = -100


class TrainerLoss:
    r"""A criterion as ``compute_loss_func`` of ``transformers.Trainer``.

    The Trainer expects of a ``compute_loss_func`` a sum divided by ``num_items_in_batch``, the
    number of labels in all batches that are accumulated, on all processes: it does not divide by
    ``gradient_accumulation_steps``, and multiplies by the number of processes. A criterion that is
    a mean would be too large by both factors. With n labels in this batch and N in all,

    $$\mathrm{loss} = \frac{n}{N} \, \mathrm{criterion}(\mathrm{outputs.logits}, \mathrm{labels})$$

    is right: the mean of the losses of the accumulated batches, weighted by their labels. Counted
    are labels other than −100, as the Trainer does. A criterion with ``process_group`` has the
    same n on all processes, their mean.

    Args:
        criterion: a callable of logits and labels whose result is a mean, such as
            ``CrossEntropyLovaszSoftmaxLoss(ignore_index=255, upsample="bilinear")``. A module is
            moved to the device of the logits.

    Raises:
        TypeError: if the criterion is not callable, and when called for outputs without logits
            and without labels.

    Examples:
        >>> import torch
        >>> from lovasz import CrossEntropyLovaszSoftmaxLoss
        >>> criterion = CrossEntropyLovaszSoftmaxLoss(ignore_index=255, upsample="bilinear")
        >>> compute_loss = TrainerLoss(criterion)  # Trainer(…, compute_loss_func=compute_loss)
        >>> logits, labels = torch.zeros(2, 3, 4, 4), torch.zeros(2, 16, 16, dtype=torch.long)
        >>> whole = compute_loss({"logits": logits}, labels)
        >>> half = compute_loss({"logits": logits}, labels, num_items_in_batch=2 * labels.numel())
        >>> round((whole / half).item(), 3)
        2.0

    References:
        https://huggingface.co/docs/transformers/main_classes/trainer, ``compute_loss_func``.
    """

    def __init__(self, criterion: Callable[..., Tensor]) -> None:
        if not callable(criterion):
            raise TypeError(
                f"TrainerLoss: expected criterion to be a loss of logits and labels,"
                f" got {criterion!r}"
            )
        self.criterion = criterion

    def __call__(
        self, outputs: Any, labels: Any, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The share of this batch in the loss of all that are accumulated.

        Args:
            outputs: of the model, with "logits", or a tuple that begins with them.
            labels: for the criterion.
            num_items_in_batch: N, as the Trainer counts it. None: of this batch alone.
        """
        logits = _logits(outputs)
        if labels is None:
            raise TypeError(
                "TrainerLoss: expected the batch to have labels, got None: call them 'labels' in"
                " the data set, and keep remove_unused_columns=False"
            )
        if isinstance(self.criterion, nn.Module):
            self.criterion.to(logits.device)
        loss = self.criterion(logits, labels)
        if num_items_in_batch is None:
            return loss
        counted: Tensor = labels.ne(_NOT_COUNTED).sum()
        ranks = ranks_of(getattr(self.criterion, "process_group", None))
        if ranks is not None:
            counted = ranks.total(counted) / ranks.size
        # One number for each device where there are several in one process: the Trainer then
        # multiplies by how many there are.
        whole = torch.as_tensor(num_items_in_batch, device=logits.device).sum()
        return loss * (counted / whole.clamp(min=1))


def _logits(outputs: Any) -> Tensor:
    if isinstance(outputs, Mapping):
        found = outputs.get("logits")
    else:
        found = outputs[0] if isinstance(outputs, tuple) and outputs else None
    if not isinstance(found, Tensor):
        kind = sorted(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
        raise TypeError(
            f"TrainerLoss: expected outputs of the model with a tensor 'logits', got {kind}"
        )
    return found
