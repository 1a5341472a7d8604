"""What a pruned model has kept of the original, found by value.

The values within a parameter are distinct random numbers (:func:`convslim.conformance.case.make_distinct_`), so every
number in the pruned model tells where it comes from. Nobody has to be asked what was removed, and nobody believed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Kept:
    """What is left of the original's tensors.

    Attributes:
        masks: For tensors of which elements are gone: True where an element is still there, in the original's shape.
        foreign: Parameters of the pruned model with values that no tensor of the original has.
    """

    masks: Mapping[str, Tensor]
    foreign: tuple[str, ...]


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by every name that they have."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def find_kept(original: nn.Module, pruned: nn.Module) -> Kept:
    """Match every tensor of the original with the pruned model's, by name first, then among all of them.

    Tensors whose values repeat (a fixed blur filter, stored once per channel) say nothing and are left out.
    """
    before = {name: tensor.detach() for name, tensor in tensors_of(original).items() if tensor.is_floating_point()}
    after = {name: tensor.detach() for name, tensor in tensors_of(pruned).items() if tensor.is_floating_point()}
    known, left = _values(before), _values(after)
    masks = {}
    for name, tensor in before.items():
        if tensor.unique().numel() < tensor.numel():
            continue
        twin = after.get(name)
        own = twin is not None and bool(torch.isin(twin, tensor).all())
        mask = torch.isin(tensor, twin if own and twin is not None else left)
        if not mask.all():
            masks[name] = mask
    parameters = {name for name, _ in pruned.named_parameters(remove_duplicate=False)}
    foreign = [name for name in after if name in parameters and not torch.isin(after[name], known).all()]
    return Kept(masks, tuple(foreign))


def untied(original: nn.Module, kept: Kept) -> nn.Module:
    """The original; a copy if it shares a tensor between layers of which different parts were kept.

    The smaller model cannot share that tensor any more, and need not: what counts is what it computes.
    """
    copied = copy.deepcopy(original)
    seen: dict[int, str] = {}
    for name, tensor in dict(copied.named_parameters(remove_duplicate=False)).items():
        first = seen.setdefault(id(tensor), name)
        if first != name and name in kept.masks and not torch.equal(kept.masks[name], kept.masks.get(first, tensor)):
            module, _, own = name.rpartition(".")
            setattr(copied.get_submodule(module), own, nn.Parameter(tensor.detach().clone(), tensor.requires_grad))
    return copied


def _values(tensors: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([torch.zeros(0), *(tensor.flatten().float() for tensor in tensors.values())])


def width_of(model: nn.Module, target: str) -> int:
    """How many channels a layer, or raw parameter, makes: the size of its weight along the dimension of its filters.

    In a model of another class (an exported graph) the tensors have the same names, and their layers may be missing.
    """
    tensors = tensors_of(model)
    endings = ("", ".weight", ".parametrizations.weight.original1", ".parametrizations.weight.original")
    name = next((target + ending for ending in endings if target + ending in tensors), "")
    if not name:
        return 0
    module = dict(model.named_modules()).get(target)
    return tensors[name].shape[isinstance(module, nn.modules.conv._ConvTransposeNd)]
