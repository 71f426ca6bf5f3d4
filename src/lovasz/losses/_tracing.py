"""Whether what is computed is also written down, or done to many at once."""

from __future__ import annotations

import torch


def is_traced() -> bool:
    """Whether a tracer or a transform follows, by which contents of tensors cannot be looked at.

    Those are compilers, ``make_fx`` before and after autograd, ``torch.jit.trace`` and the
    transforms of ``torch.func``.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return True
    modes: int = torch._C._len_torch_dispatch_stack()
    modes += torch._ops._len_torch_dispatch_stack_pre_dispatch()
    return modes > 0 or bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]
