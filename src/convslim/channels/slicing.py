"""A copy of a model that keeps only given positions of its tensors.

Used by the trial removal of a trace and by surgery alike. The model itself is never edited: sliced tensors are put
into the memo of ``copy.deepcopy``, so the original's large weights are not even copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from convslim.channels.copying import copied_module
from convslim.channels.graph import ChannelGraph, ChannelGroup
from convslim.channels.labels import Vector
from convslim.channels.program.numbers import is_number_name, write_numbers_
from convslim.channels.tape import named_tensors
from convslim.errors import ModelError

Slices = Mapping[str, Mapping[int, Sequence[int] | Vector]]


def removed_mask(group: ChannelGroup, kept: Sequence[int] | Vector) -> npt.NDArray[np.bool_]:
    """True for every channel of the group that is not among the kept indices."""
    removed = np.ones(group.num_channels, dtype=bool)
    removed[np.asarray(kept, dtype=np.int64)] = False
    return removed


def slices_of(graph: ChannelGraph, kept: Mapping[str, Sequence[int] | Vector]) -> dict[str, dict[int, Vector]]:
    """Kept positions of every axis that shrinks, for kept channels by group name; groups not named stay whole."""
    gone: dict[tuple[str, int], list[Vector]] = {}
    for group in graph.groups:
        if group.name not in kept or len(kept[group.name]) == group.num_channels:
            continue
        removed = removed_mask(group, kept[group.name])
        for axis in group.axes:
            gone.setdefault((axis.tensor, axis.dim), []).append(axis.index[removed].reshape(-1))
    slices: dict[str, dict[int, Vector]] = {}
    for (tensor, dim), positions in gone.items():
        stays = np.ones(graph.tensors[tensor][dim], dtype=bool)
        stays[np.concatenate(positions)] = False
        slices.setdefault(tensor, {})[dim] = np.flatnonzero(stays)
    return slices


def removable_macs(graph: ChannelGraph, kept_share: float = 0.0) -> int:
    """MACs of one example's layers that go if every prunable group keeps this share of its channels, one at least."""
    kept = {group.name: np.arange(max(int(group.num_channels * kept_share), 1)) for group in graph.prunable}
    return sum(call.macs() - call.macs(kept) for call in graph.calls)


def attributes_of(graph: ChannelGraph, kept: Mapping[str, Sequence[int] | Vector]) -> dict[str, int]:
    """New values of the numbers that follow the kept channels, by name; see :class:`AttributeCount`."""
    return {count.name: count.value(kept) for count in graph.attributes if count.times.keys() & kept.keys()}


def sliced_copy(model: nn.Module, slices: Slices, attributes: Mapping[str, int], *, share: bool = False) -> nn.Module:
    """Copy the model with sliced tensors and matching module attributes.

    Args:
        model: Left as it is.
        slices: Kept positions by tensor name and dimension.
        attributes: New values of numbers that no tensor tells: layers' (``groups``, ``num_features``,
            ``num_groups``) and, of programs, their graph's.
        share: Let the copy share the tensors that are not sliced; for a trial that only runs forward.

    Raises:
        ModelError: If the model cannot be copied.
    """
    tensors = named_tensors(model)
    memo: dict[int, Any] = {id(tensor): tensor for tensor in tensors.values()} if share else {}
    for name, by_dim in slices.items():
        memo[id(tensors[name])] = sliced(tensors[name], by_dim)
    try:
        small = copied_module(model, memo)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied ({error}). Remove what cannot be deep-copied "
            "(open files, locks, generators) from its attributes."
        ) from error
    modules = dict(small.named_modules(remove_duplicate=False))
    for name, number in attributes.items():
        set_attribute_(modules, name, number)
    if isinstance(small, fx.GraphModule):
        write_numbers_(small, {name: number for name, number in attributes.items() if is_number_name(name)})
    for name in _owners(small, {id(memo[id(tensors[name])]) for name in slices}):
        sync_attributes_(modules[name])
    return small


def set_attribute_(modules: Mapping[str, nn.Module], name: str, number: int) -> None:
    """Set a number of one of PyTorch's own layers; what other modules call ``groups`` may mean something else."""
    owner, _, attribute = name.rpartition(".")
    kinds = {
        "groups": nn.modules.conv._ConvNd,
        "num_features": nn.modules.batchnorm._NormBase,
        "num_groups": nn.GroupNorm,
    }
    if isinstance(modules.get(owner), kinds.get(attribute, ())):
        setattr(modules[owner], attribute, number)


def _owners(model: nn.Module, tensors: set[int]) -> set[str]:
    """Modules whose attributes speak of the tensors, sharers included; parametrized ones are around theirs."""
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    owners = {name.rpartition(".")[0] for name, tensor in named if id(tensor) in tensors}
    return {name.removesuffix(".parametrizations").partition(".parametrizations.")[0] for name in owners}


def sliced(tensor: Tensor, by_dim: Mapping[int, Sequence[int] | Vector]) -> Tensor:
    """The kept positions of a tensor along every dimension named, of the same kind and layout."""
    with torch.no_grad():
        found = tensor.detach()
        for dim, kept in by_dim.items():
            index = torch.as_tensor(np.asarray(kept, dtype=np.int64), device=tensor.device)
            found = found.index_select(dim, index)
        dense = found.contiguous(memory_format=_memory_format(tensor))
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(dense, requires_grad=tensor.requires_grad)
    return dense


def _memory_format(tensor: Tensor) -> torch.memory_format:
    plain = tensor.dim() != 4 or tensor.is_contiguous()
    last = not plain and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def sync_attributes_(module: nn.Module) -> None:
    """Set the counts that PyTorch's own layers keep beside their tensors."""
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        module.in_channels = module.weight.shape[0]
        module.out_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.modules.conv._ConvNd):
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        held = next((t for t in (module.weight, module.running_mean) if t is not None), None)
        module.num_features = len(held) if held is not None else module.num_features
    elif isinstance(module, nn.GroupNorm) and module.weight is not None:
        module.num_channels = len(module.weight)
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm) and module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.numel()
