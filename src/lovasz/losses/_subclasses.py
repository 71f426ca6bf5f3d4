"""Tensors of other libraries that are tensors of torch with something besides.

MONAI's ``MetaTensor`` and torchvision's masks carry what a loss has no use for, and take part in
every operation on them by ``__torch_function__``. A loss computes with the tensors inside.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import has_torch_function


def plain(value: Any) -> Any:
    """The tensor inside, connected to it; anything else as it is."""
    # A default device is a mode of its own, in which every tensor takes part in operations.
    if type(value) is Tensor or not isinstance(value, Tensor) or not has_torch_function((value,)):
        return value
    kind: Any = type(value)
    if kind.__torch_dispatch__ is not torch._C._disabled_torch_dispatch_impl:
        return value  # FakeTensor and DTensor are no tensors with something besides
    with torch._C.DisableTorchFunctionSubclass():
        return value.view_as(value)  # as_subclass(Tensor) is what compilers cannot follow
