"""What relation modules say of the channels: their mean factors, and importances made of these and the scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from convslim.channels.graph import ChannelGroup
from convslim.channels.undisturbed import undisturbed
from convslim.criteria.criterion import Criterion
from convslim.criteria.weights import norm_scales, rows
from convslim.errors import DataError, ModelError, PlanError, nearest
from convslim.sparsity.gfr import factors_of
from convslim.sparsity.gfr_attach import relation_at, relations_in

Importance = Literal["product", "gamma", "sr", "weighted"]
CITATION = "Publication CN112308213A, Hunan University"


def relationship_factors(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """sr_c: the mean of s_c over all images, in evaluation mode, in one pass.

    Args:
        model: A network with relation modules, left as found.
        batches: Inputs for the network, some hundred images in all.

    Returns:
        Name of the BatchNorm → (num_features,) float64, each in (0, 1).

    Raises:
        ModelError: The network has no relation modules.
        DataError: There is no image.
    """
    relations = relations_in(model)
    if relations is None:
        raise ModelError(
            f"{type(model).__name__} has no relation modules. Put them in and train first: step sparsify with gfr, or "
            "attach_relations_."
        )
    sums: dict[str, Tensor] = {}
    seen = dict.fromkeys((place.norm for place in relations.places), 0)

    def watch(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def add(module: nn.Module, inputs: Any, logits: Tensor) -> None:
            total = factors_of(logits.double()).sum(0)
            sums[name] = sums[name] + total if name in sums else total
            seen[name] += len(logits)

        return add

    with ExitStack() as stack, undisturbed(model):
        for place in relations.places:
            handle = relation_at(model, place).excite.register_forward_hook(watch(place.norm))
            stack.callback(handle.remove)
        for images in batches:
            model(images)
    if not sums:
        raise DataError("No image was given to measure relationship factors on; give some hundred.")
    return {name: total.cpu() / seen[name] for name, total in sums.items()}


def relation_importance(
    factors: Mapping[str, Tensor], scales: Mapping[str, Tensor], how: Importance = "product", weight: float = 0.5
) -> Criterion:
    """The criterion ``gfr``: the mean, over the BatchNorms that a channel passes, of

    - ``product``: ``sr_c·|γ_c|``, the channel's effective scale: what s loses and γ wins leaves it as it is;
    - ``gamma``: ``|γ_c|``;
    - ``sr``: ``sr_c``;
    - ``weighted``: ``a·sr_c/max sr + (1 − a)·|γ_c|/max |γ|``, maxima over the whole network.

    A BatchNorm without a relation module counts with sr = 1. Groups that meet no BatchNorm stay whole, and so do the
    inner channels of the modules.

    Args:
        factors: sr by name of the BatchNorm.
        scales: γ by name of the BatchNorm, of those that `factors` has.
        how: Which of the four.
        weight: a, in [0, 1].

    Raises:
        PlanError: There is no such importance.

    References:
        Publication CN112308213A, Hunan University; see docs/gfr.md for what it gives and what is our reading.
    """
    if how not in get_args(Importance):
        known = get_args(Importance)
        raise PlanError(f"There is no importance {how!r}; known are {', '.join(known)}.{nearest(how, known)}")
    top_factor = max(float(values.max()) for values in factors.values())
    top_scale = max(max(float(values.abs().max()) for values in scales.values()), torch.finfo(torch.float64).tiny)

    def one(sr: Tensor, gamma: Tensor) -> Tensor:
        if how == "product":
            return sr * gamma
        if how == "weighted":
            return weight * sr / top_factor + (1 - weight) * gamma / top_scale
        return gamma if how == "gamma" else sr

    def scored(group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: object) -> Tensor | None:
        found = []
        for axis in norm_scales(group, tensors):
            gamma = tensors[axis.tensor].detach().double().abs().cpu()
            sr = factors.get(axis.tensor.rpartition(".")[0], torch.ones_like(gamma))
            found.append(rows(one(sr.double().cpu(), gamma), axis).mean(1))
        return torch.stack(found).mean(0) if found else None

    return Criterion("gfr" if how == "product" else f"gfr {how}", scored, needs_gradients=False, citation=CITATION)
