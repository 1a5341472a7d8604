"""Putting relation modules into a network, and taking them out without a trace.

A module becomes a submodule ``gfr`` of the layer that carries it, and one function of this file that layer's hook: it
finds the module through the layer, so that copies of the network work by themselves. Nothing else of the network
changes, and nothing stays behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from convslim.channels.graph import ChannelGraph
from convslim.errors import ModelError
from convslim.sparsity.gfr import START, GlobalFeatureRelation
from convslim.sparsity.gfr_places import Place, Relations, find_places

NAME = "gfr"


def attach_relations_(
    model: nn.Module, graph: ChannelGraph, *, reduction: int = 16, seed: int = 0
) -> tuple[Relations, Mapping[str, str]]:
    """Put a relation module behind the BatchNorm of every channel that may be removed, before the activation.

    New modules halve every channel, so γ and β are doubled: the network gives bit for bit what it gave before.

    Args:
        model: Changed in place.
        graph: Its trace.
        reduction: As for :class:`~convslim.sparsity.gfr.GlobalFeatureRelation`.
        seed: Of W1; the global random state is left alone.

    Returns:
        Where the modules stand; and the BatchNorms of prunable channels that got none, with the reason.

    Raises:
        ModelError: There is no place, or the model has relation modules already.

    >>> from convslim.channels.trace import trace
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> x = torch.randn(2, 1, 8, 8)
    >>> before = net.eval()(x)
    >>> relations, left = attach_relations_(net, trace(net, x))
    >>> relations.places, torch.equal(net(x), before)
    ((Place(norm='1', host='1', before=False),), True)
    >>> fold_relations_(net, {"1": torch.full((4,), 0.5)})
    >>> list(net[1].children()), torch.equal(net(x), before)
    ([], True)
    """
    places, left = find_places(model, graph)
    relations = Relations(places, reduction)
    insert_relations_(model, relations, seed=seed)
    for place in places:
        _scale_norm_(model.get_submodule(place.norm), torch.tensor(1 / START))
    return relations, left


def insert_relations_(model: nn.Module, relations: Relations, *, seed: int = 0) -> nn.Module:
    """Put new relation modules where a record says; γ and β stay as they are. For weights that are loaded afterwards.

    Raises:
        ModelError: The model lacks a layer of the record, or has relation modules already.
    """
    modules = dict(model.named_modules())
    missing = [name for place in relations.places for name in (place.norm, place.host) if name not in modules]
    taken = [place.host for place in relations.places if hasattr(modules.get(place.host), NAME)]
    if missing or taken:
        wrong = f"has no layer {missing[0]!r}" if missing else f"has something called {NAME!r} in {taken[0]!r} already"
        raise ModelError(
            f"{type(model).__name__} {wrong}, so relation modules cannot be put in. Give the network that they were "
            "made for, without such modules."
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for place in relations.places:
            _insert_(modules[place.norm], modules[place.host], place, relations.reduction)
    return model


def _insert_(norm: nn.Module, host: nn.Module, place: Place, reduction: int) -> None:
    scale = norm.weight
    assert isinstance(scale, Tensor), "places are BatchNorms with a scale"
    relation = GlobalFeatureRelation(len(scale), reduction).to(scale.device, scale.dtype).train(norm.training)
    host.add_module(NAME, relation)
    if place.before:
        host.register_forward_pre_hook(_relate_input)
    else:
        host.register_forward_hook(_relate_output)


def _relate_output(host: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    scaled: Tensor = host.get_submodule(NAME)(output)
    return scaled


def _relate_input(host: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (host.get_submodule(NAME)(inputs[0]), *inputs[1:])


def relations_in(model: nn.Module) -> Relations | None:
    """Where relation modules stand in a network; None if there is none."""
    modules = dict(model.named_modules())
    hosts = [name for name, module in modules.items() if isinstance(getattr(module, NAME, None), GlobalFeatureRelation)]
    if not hosts:
        return None
    places = [
        Place(_norm_around(host, modules), host, _relate_input in modules[host]._forward_pre_hooks.values())
        for host in hosts
    ]
    return Relations(tuple(places), relation_at(model, places[0]).reduction)


def _norm_around(host: str, modules: Mapping[str, nn.Module]) -> str:
    """The BatchNorm that is the host, or has it inside."""
    while not isinstance(modules[host], _BatchNorm):
        host = host.rpartition(".")[0]
    return host


def relation_at(model: nn.Module, place: Place) -> GlobalFeatureRelation:
    """The module that stands at a place."""
    relation = model.get_submodule(place.host).get_submodule(NAME)
    assert isinstance(relation, GlobalFeatureRelation), f"{place.host} carries something else"
    return relation


def fold_relations_(model: nn.Module, factors: Mapping[str, Tensor]) -> None:
    """Take the modules out and give one constant factor per channel to the BatchNorms: γ' = sr·γ, β' = sr·β.

    Args:
        model: Changed in place; its class, names and hooks are those from before the modules were put in.
        factors: sr of every channel by name of the BatchNorm, ``(num_features,)``, as
            :func:`~convslim.sparsity.relationship_factors` gives them.
    """
    found = relations_in(model)
    for place in found.places if found else ():
        _remove_(model.get_submodule(place.host))
        _scale_norm_(model.get_submodule(place.norm), factors[place.norm])


def detach_relations_(model: nn.Module) -> None:
    """Take the modules out as if they were untrained: what :func:`attach_relations_` did is undone."""
    found = relations_in(model)
    fold_relations_(model, {place.norm: torch.tensor(START) for place in found.places} if found else {})


def _remove_(host: nn.Module) -> None:
    for hooks in (host._forward_hooks, host._forward_pre_hooks):
        for number in [number for number, hook in hooks.items() if hook in (_relate_output, _relate_input)]:
            del hooks[number]
    delattr(host, NAME)


@torch.no_grad()
def _scale_norm_(norm: nn.Module, factors: Tensor) -> None:
    for held in (norm.weight, norm.bias):
        if isinstance(held, Tensor):
            held.mul_(factors.to(held))
