"""A device that has no float64, as Apple's MPS: its tensors are the CPU's in disguise.

Importing this gives torch the device "singles". Any operator works on it, by that of the CPU;
float64 tensors, and operators with tensors of two devices, raise as they do on real ones.
"""

import torch
from torch.utils import _pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from lovasz.kernels import precision

_setup_privateuseone_for_python_backend("singles")
DEVICE = torch.device("singles:0")
precision.WITHOUT_FLOAT64 = frozenset({DEVICE.type})


class Singles(torch.Tensor):
    """A tensor of the device around one of the CPU, ``inner``."""

    @staticmethod
    def __new__(cls, inner):
        if inner.dtype == torch.float64:
            raise TypeError("this device has no float64")
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=DEVICE
        )
        tensor.inner = inner
        return tensor

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        options = dict(options or {})
        away = str(options.get("device", DEVICE)) == "cpu"
        if "device" in options:
            options["device"] = "cpu"
        for tensor in _pytree.tree_leaves((arguments, options)):
            # a number of the CPU may meet any tensor, and a copy is between devices
            stranger = isinstance(tensor, torch.Tensor) and not isinstance(tensor, cls)
            if stranger and tensor.dim() and function is not torch.ops.aten.copy_.default:
                raise RuntimeError(f"{function}: tensors on two devices")
        result = function(*_inner(arguments), **_inner(options))
        if away:
            return result.clone()
        # What was changed in place is the argument itself.
        known = {id(x.inner): x for x in _pytree.tree_leaves(arguments) if isinstance(x, cls)}
        return _pytree.tree_map_only(
            torch.Tensor, lambda x: known[id(x)] if id(x) in known else cls(x), result
        )


def _inner(tree):
    return _pytree.tree_map_only(Singles, lambda tensor: tensor.inner, tree)


def _copy(source, target, non_blocking=False):
    target.inner.copy_(source.inner if isinstance(source, Singles) else source)
    return target


_library = torch.library.Library("aten", "IMPL")
for _name in ("empty.memory_format", "empty_strided"):
    _function = getattr(torch, _name.split(".")[0])

    def _empty(*sizes, dtype=None, function=_function, **_):
        return Singles(function(*sizes, dtype=dtype))

    _library.impl(_name, _empty, "PrivateUse1")
_library.impl("_copy_from", _copy, "PrivateUse1")
