"""Which operators of torch run."""

from torch.utils._python_dispatch import TorchDispatchMode


class Counter(TorchDispatchMode):
    """Names of the operators that do something: no views."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if not function.is_view:
            self.names.append(function.name())
        return function(*arguments, **(options or {}))
