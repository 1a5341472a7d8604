"""The end of an epoch while coefficients are trained: what is cut, what came back, and whether that has settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from convslim.sparsity.mask import MaskedNetwork
from convslim.sparsity.mask_steering import BudgetSteering
from convslim.train.observer import EpochEnd

SHOWN: Final = 8


@dataclass(frozen=True)
class MaskObserver:
    """Ends a training of a `MaskedNetwork` when the same channels were cut for some epochs, or at the latest epoch.

    Attributes:
        stable_epochs: For how many epochs in a row.
        last_epoch: After so many epochs the training ends in any case.
        steering: Tells whether a budget is met, before which nothing counts as settled; None without one.
    """

    stable_epochs: int
    last_epoch: int
    steering: BudgetSteering | None

    def note(self, module: nn.Module) -> str:
        """Live channels of the groups, the first few of many."""
        assert isinstance(module, MaskedNetwork), "coefficients are trained in a MaskedNetwork"
        pairs = list(zip(module.live().values(), module.places.sizes, strict=True))
        shown = " ".join(f"{alive}/{size}" for alive, size in pairs[:SHOWN])
        more = f" … {sum(alive for alive, _ in pairs)} of {module.places.total}" if len(pairs) > SHOWN else ""
        return f"live {shown}{more}"

    @torch.no_grad()
    def end_epoch_(self, module: nn.Module) -> EpochEnd:
        """Count the epochs in which nothing changed, and start FISTA's inertia anew."""
        assert isinstance(module, MaskedNetwork), "coefficients are trained in a MaskedNetwork"
        cut = module.settled == 0
        returned = int((module.cut_before & ~cut).sum())
        same = bool(int(module.epochs) > 0 and torch.equal(cut, module.cut_before))
        alive = (~cut).cpu().numpy()
        met = self.steering is None or self.steering.met(alive)
        module.stable.fill_(int(module.stable) + 1 if same and met else 0)
        module.epochs.add_(1)
        module.cut_before.copy_(cut)
        module.inertia.fill_(1)
        facts = {"live": module.live(), "returned": returned, "strength": float(module.strength)}
        if self.steering is not None:
            facts["macs"] = self.steering.share(alive)
        settled = int(module.stable) >= self.stable_epochs
        return EpochEnd(facts, stop=settled or int(module.epochs) >= self.last_epoch)
