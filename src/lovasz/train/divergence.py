"""Whether a run has diverged: a loss, or a number of the network, that is not finite."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lovasz.train.optimizer import learning_rate

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import Tensor, nn

    from lovasz.train.config import TrainConfig

# Steps after which the losses are looked at on an accelerator, which has to be waited for then.
_EVERY = 50
# Gradients that are too large for float16 even with this factor do not come from its range.
_SMALLEST_SCALE = 2.0**-10


class FiniteCheck:
    """Looks at every loss, and before anything is written from it at the network too.

    Args:
        config: Learning rates and number format.
        network: As it is built, before a checkpoint is loaded: what is not finite now, such as a
            mask of minus infinity, may stay so.
        total: Steps of the whole run.
        fabric: Device, and the scaler of float16.
    """

    def __init__(self, config: TrainConfig, network: nn.Module, total: int, fabric: Fabric) -> None:
        self.config, self.network, self.total = config, network, total
        self.watched = [
            name
            for name, tensor in network.state_dict().items()
            if isinstance(tensor, torch.Tensor)  # a module may keep other things besides
            and tensor.is_floating_point()
            and tensor.isfinite().all()
        ]
        self.every = 1 if fabric.device.type == "cpu" else _EVERY
        self.scaler: torch.amp.GradScaler | None
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)
        self.step = 0
        self.losses: list[Tensor] = []  # of the last steps
        self.found = ""

    def observe(self, loss: Tensor, step: int) -> None:
        """Note the loss of a step, the first of which is 1."""
        self.step = step
        self.losses.append(loss.detach())
        if step % self.every == 0:
            self._look_at_losses()

    def before_use(self) -> None:
        """Look at the losses that are left, the network and the scaler."""
        self._look_at_losses()
        after = f"after step {self.step} of {self.total}{self._rate(self.step)}"
        state = self.network.state_dict()
        finite = [state[name].isfinite().all() for name in self.watched]
        if not self.found and finite and not torch.stack(finite).all():
            wrong = self.watched[[bool(each) for each in finite].index(False)]
            self.found = f"{wrong} of the network is not finite {after}"
        if not self.found and self.scaler and self.scaler.get_scale() < _SMALLEST_SCALE:
            self.found = f"no gradient is finite in float16 {after}"

    def sentence(self) -> str:
        """What has happened, and what to try."""
        found = self.found or f"the loss of another process is not finite at step {self.step}"
        wider = {"16-mixed": "bf16-mixed or 32-true", "bf16-mixed": "32-true"}
        formats = wider.get(self.config.precision)
        other = f" or --precision {formats}" if formats else ""
        return f"lr: {found}; try a lower --lr{other}"

    def _look_at_losses(self) -> None:
        if self.losses and not self.found:
            values = torch.stack(self.losses).tolist()
            bad = [k for k, value in enumerate(values) if not math.isfinite(value)]
            if bad:
                step = self.step - len(values) + 1 + bad[0]
                self.found = (
                    f"the loss is {values[bad[0]]} at step {step} of {self.total}{self._rate(step)}"
                )
        self.losses.clear()

    def _rate(self, step: int) -> str:
        rate = learning_rate(self.config, max(0, step - 1), self.total)
        whole = "" if rate == self.config.lr else f", of --lr {self.config.lr:g}"
        return f" (learning rate {rate:.3g}{whole})"
