"""How large a channel's maps are."""

from __future__ import annotations

from torch import Tensor

from convslim.criteria.activations import ActivationCriterion, Over, averaged


def mean_activation(over: Over = "mean") -> ActivationCriterion:
    """``I_c = mean |f_n,c|`` over images and positions.

    The unit is that of the maps, which differs from layer to layer; ``"mean_activation"`` in the table stands for
    ``normalized(mean_activation())``.

    Args:
        over: What becomes of the scores at the places of coupled producers: their mean, sum or max.

    References:
        Molchanov et al., *Pruning convolutional neural networks for resource efficient inference*, ICLR 2017,
        arXiv:1611.06440, section 2.2.
    """
    return averaged("mean_activation", _magnitude, "Molchanov et al., ICLR 2017, arXiv:1611.06440", over)


def _magnitude(maps: Tensor) -> Tensor:
    return maps.double().abs().reshape(*maps.shape[:2], -1).mean(-1)
