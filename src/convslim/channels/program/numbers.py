"""Numbers in a program's graph by name: ``"view_3:size.1"`` is the second entry of the argument ``size`` of a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from convslim.channels.program.rewrite import arguments, set_arguments


def _parts(name: str) -> tuple[str, str, str]:
    node, _, path = name.partition(":")
    argument, _, place = path.partition(".")
    return node, argument, place


def is_number_name(name: str) -> bool:
    """True for names of a graph's numbers; layers' numbers are called ``"features.1.groups"``."""
    node, argument, place = _parts(name)
    return node.isidentifier() and argument.isidentifier() and (not place or place.isdecimal())


def numbers_in(graph: fx.Graph) -> set[str]:
    """Names of all numbers that nodes of the graph hold."""
    found = set()
    for node in graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload):
            for argument, value in arguments(node).items():
                values = enumerate(value) if isinstance(value, list | tuple) else [("", value)]
                names = [f"{node.name}:{argument}.{place}".rstrip(".") for place, v in values if isinstance(v, int)]
                found.update(names)
    return found


def number_at(named: Mapping[str, Any], argument: str, place: str) -> Any:
    """What an argument holds, at a place if it is a list; None if there is no such."""
    value = named.get(argument)
    if not place:
        return value
    return value[int(place)] if isinstance(value, list | tuple) and int(place) < len(value) else None


def write_numbers_(program: fx.GraphModule, numbers: Mapping[str, int]) -> None:
    """Set numbers by name, in place."""
    nodes = {node.name: node for node in program.graph.nodes}
    for name, number in numbers.items():
        owner, argument, place = _parts(name)
        named = arguments(nodes[owner])
        if place:
            values = list(named[argument])
            values[int(place)] = number
            named[argument] = values
        else:
            named[argument] = number
        set_arguments(nodes[owner], named)
    program.recompile()
