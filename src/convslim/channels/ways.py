"""The user's class or a graph of it: which of the two a plan is carried out on.

Numbers in Python code pin channels of the class that only the code holds back. Then the model is written down as a
graph and traced again, and the graph is taken if clearly more can go. The class is worth much, so little more is not
enough.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from convslim.channels.graph import ChannelGraph
from convslim.channels.program.assemble import Program, assemble, describe, is_program
from convslim.channels.program.export import export_program
from convslim.channels.slicing import removable_macs
from convslim.channels.tape import ExampleInput, named_tensors
from convslim.errors import ExportError, ModelError

WAYS = ("class", "graph")
WORTH = 0.01  # of the MACs, at half of all channels: as much more must go before the user's class is given up

Trace = Callable[[nn.Module], ChannelGraph]


def choose_way(model: nn.Module, example_input: ExampleInput, ways: Sequence[str], trace: Trace) -> ChannelGraph:
    """The graph of channels in the way that is allowed and frees more.

    Args:
        model: The user's model.
        example_input: As for :func:`convslim.trace`.
        ways: Allowed ways, ``"class"`` and ``"graph"``; with ``"graph"`` alone the model is always written as a graph.
        trace: Traces a model in the form in which it is given.

    Raises:
        ModelError: If ``ways`` is empty or names another way.
        ExportError: If only ``"graph"`` is allowed and the model cannot be written as one.
    """
    if not ways or any(way not in WAYS for way in ways):
        raise ModelError(f"ways={tuple(ways)!r} must name one or both of {', '.join(map(repr, WAYS))}.")
    if is_program(model):
        return _as_graph(trace(model), describe(model), "the model is a graph already")
    if "class" not in ways:
        program = export_program(model, example_input)
        return _as_graph(trace(assemble(program, named_tensors(model))), program, "the class was not among the ways")
    graph = trace(model)
    held = _held(graph)
    if not held:
        return replace(graph, way_reason="no number in the model's code holds channels back")
    if "graph" not in ways:
        return replace(graph, way_reason=f"the graph was not among the ways; {held}")
    try:
        program = export_program(model, example_input)
        other = trace(assemble(program, named_tensors(model)))
    except (ExportError, ModelError) as error:
        return replace(graph, way_reason=f"{held}, and the graph way failed: {error}")
    return _better(graph, other, program, held)


def _better(graph: ChannelGraph, other: ChannelGraph, program: Program, held: str) -> ChannelGraph:
    total = sum(call.macs() for call in graph.calls)
    shares = [removable_macs(each, kept_share=0.5) / max(total, 1) for each in (graph, other)]
    numbers = f"half of the channels are {shares[1]:.1%} of the MACs as a graph, {shares[0]:.1%} in the model's class"
    if shares[1] - shares[0] <= WORTH:
        return replace(graph, way_reason=f"{held}, but a graph frees little more: {numbers}")
    return _as_graph(other, program, f"{held}: {numbers}")


def _held(graph: ChannelGraph) -> str:
    """How many channels numbers in the code hold back, and where; empty if none."""

    pins = [(group, pin) for group in graph.groups for pin in group.pins]
    held = [(group, pin) for group, pin in pins if pin.in_code]
    if not held and graph.evidence is not None and graph.evidence.choices:
        # Where a trial removal has refused the usual reading of a view, the next one may end pinned for other reasons.
        held = [(group, pin) for group, pin in pins if pin.operation]
    if not held:
        return ""
    channels = sum({group.name: group.num_channels for group, _ in held}.values())
    pin = held[0][1]
    return f"numbers in the code hold {channels} channels back, first in {pin.module or 'the model'} ({pin.source})"


def _as_graph(graph: ChannelGraph, program: Program, reason: str) -> ChannelGraph:
    structure = hashlib.sha256(f"graph:{graph.structure}".encode()).hexdigest()
    notes = (*graph.notes, *program.notes)
    return replace(graph, structure=structure, notes=notes, way="graph", way_reason=reason, program=program)
