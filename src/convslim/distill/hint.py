"""Hints: the features themselves."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from convslim.distill.views import Views, same_size


@dataclass(frozen=True)
class Hint:
    """L = Σ_positions mean (R(F_s) - F_t)², the mean over all N·C·H·W entries.

    R is a 1×1 convolution from the student's width to the teacher's, trained with the student; it starts as the
    identity on the channels that both have. The maps that come in here have gone through it.

    >>> import torch
    >>> zeros, ones = torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2)
    >>> float(Hint()(Views(zeros, (zeros,)), Views(ones, (ones,)), torch.tensor([0])))
    1.0

    References:
        Romero, Ballas, Kahou, Chassang, Gatta and Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015,
        arXiv:1412.6550.
    """

    def __call__(self, student: Views, teacher: Views, labels: Tensor) -> Tensor:
        """The loss of a batch; scores and `labels` are not looked at."""
        loss = student.maps[0].new_zeros(())
        for own, given in zip(student.maps, teacher.maps, strict=True):
            seen, shown = same_size(own, given)
            loss = loss + (seen - shown).square().mean()
        return loss
