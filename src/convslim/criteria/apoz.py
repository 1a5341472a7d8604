"""How often a channel is zero."""

from __future__ import annotations

from torch import Tensor

from convslim.criteria.activations import ActivationCriterion, Over, averaged


def apoz(over: Over = "mean") -> ActivationCriterion:
    """``I_c = 1 − APoZ_c``: the fraction of positions and images where the channel's map is not zero.

    A fraction means the same in every layer, so the scores rank globally as they are. Behind activations that are
    never exactly zero (GELU, SiLU, none) all scores are 1, and say nothing.

    Args:
        over: What becomes of the scores at the places of coupled producers: their mean, sum or max.

    References:
        Hu et al., *Network trimming: a data-driven neuron pruning approach towards efficient deep architectures*,
        2016, arXiv:1607.03250.
    """
    return averaged("apoz", _live, "Hu et al., 2016, arXiv:1607.03250", over)


def _live(maps: Tensor) -> Tensor:
    return (maps != 0).reshape(*maps.shape[:2], -1).double().mean(-1)
