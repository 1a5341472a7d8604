"""From a network to its simulation in integers: a graph that rounds, trains, and can be written as an int8 file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, fx, nn

from convslim.channels.program.assemble import assemble, describe, is_program
from convslim.channels.program.export import export_program
from convslim.channels.tape import ExampleInput, named_tensors
from convslim.errors import ModelError
from convslim.quantize.fake import UNLIMITED, ActivationQuantizer, Ends
from convslim.quantize.layer import QuantizedLayer
from convslim.quantize.observers import MinMax, Observer
from convslim.quantize.operations import ends_of, is_clamp, out_of_place_
from convslim.quantize.padding import with_numbers
from convslim.quantize.phase import Clock
from convslim.quantize.placement import LayerPlace, Placement, place

HOLDER = "_quantization"
"""The module of a simulation that holds everything that is not the user's: grids, layers' scales, the clock."""

GRID, LAYER, RANK = "grid", "layer", "rank"
"""Marks of nodes: the grid of the result; the layer that a node computes, and the number of its input's dimensions."""

LEFT = "float_layers"
"""Where a simulation notes the layers that stay float, with the reason."""

NewObserver = Callable[[], Observer]


def moving_range() -> Observer:
    """An exponential moving average of batches' extremes, as training uses it."""
    return MinMax(momentum=0.01)


def prepare(
    model: nn.Module,
    example_input: ExampleInput,
    *,
    float_layers: Iterable[str] = (),
    observer: NewObserver = moving_range,
    clock: Clock | None = None,
) -> fx.GraphModule:
    """The simulation of a network in 8-bit integers, with weights of its own.

    The network is written as a graph (:func:`convslim.channels.program.export.export_program`) in which layers are
    called with rounded weights, BatchNorms folded, and activations rounded where
    :func:`convslim.quantize.placement.place` says. Parameters and buffers have the
    names of the user's class, so that :func:`weights_of` gives what the class can load.

    Args:
        model: The network, left as it is.
        example_input: As for :func:`convslim.trace`, tensors only.
        float_layers: Patterns (``fnmatch``) of layers that stay float.
        observer: Makes the observer of one place.
        clock: When what begins; rounds everything from the first step on unless given.

    Raises:
        ExportError: If the network cannot be written as a graph.
        PlanError: If a pattern matches no layer, or there is nothing to quantize.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    >>> simulation = prepare(net, torch.randn(1, 3, 8, 8))
    >>> [grid.name for grid in grids_of(simulation).values()]
    ['input_1', 'relu']
    """
    model = with_numbers(model)
    program = describe(model) if is_program(model) else export_program(model, example_input)
    built = assemble(program, named_tensors(copy.deepcopy(model)))
    out_of_place_(built.graph)
    built.recompile()
    places = place(built, example_input, float_layers)
    holder = nn.Module()
    holder.add_module("clock", clock or Clock())
    holder.add_module("grids", nn.Module())
    holder.add_module("layers", nn.Module())
    holder.train(built.training)
    built.add_module(HOLDER, holder)
    _insert_grids_(built, places, observer)
    _insert_layers_(built, places)
    built.graph.lint()
    built.recompile()
    built.meta[LEFT] = dict(places.left)
    device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    return built.to(device)


def _first(graph: fx.Graph) -> fx.Node:
    """The last of the inputs: everything new stands behind it."""
    return [node for node in graph.nodes if node.op == "placeholder"][-1]


def _insert_grids_(built: fx.GraphModule, places: Placement, observer: NewObserver) -> None:
    graph, holder = built.graph, built.get_submodule(f"{HOLDER}.grids")
    with graph.inserting_after(_first(graph)):
        phase = graph.call_module(f"{HOLDER}.clock")
    for node, name in places.grids.items():
        node.meta[GRID] = name
    for name, sources in places.sources.items():
        clamps = [_clamp_before(node) for node in sources]
        module = ActivationQuantizer(name, [observer() for _ in sources], [ends for _, ends in clamps])
        module.train(built.training)
        holder.add_module(name, module)
        for number, (node, (read, _)) in enumerate(zip(sources, clamps, strict=True)):
            with graph.inserting_after(phase if node.op == "placeholder" else node):
                rounded = graph.call_module(f"{HOLDER}.grids.{name}")
            node.replace_all_uses_with(rounded)
            rounded.args = (read, number, phase)
            rounded.meta = {GRID: name}
            del node.meta[GRID]
            if read is not node:
                graph.erase_node(node)


def _clamp_before(node: fx.Node) -> tuple[fx.Node, Ends]:
    """What a grid reads, and between which numbers it clamps: ReLU and its like become part of the grid."""
    return (node.all_input_nodes[0], ends_of(node)) if is_clamp(node) else (node, UNLIMITED)


def _insert_layers_(built: fx.GraphModule, places: Placement) -> None:
    graph = built.graph
    phase = next(node for node in graph.nodes if node.target == f"{HOLDER}.clock")
    modules: dict[str, QuantizedLayer] = {}
    for found in places.layers:
        target = f"{HOLDER}.layers.{found.path.replace('.', '_') or 'layer'}"
        if target not in modules:
            weight: Any = built.get_submodule(found.path).weight
            modules[target] = QuantizedLayer(len(weight)).train(built.training)
            built.add_submodule(target, modules[target])
        _call_layer_(graph, found, target, phase)


def _call_layer_(graph: fx.Graph, found: LayerPlace, target: str, phase: fx.Node) -> None:
    source = found.node.args[0]
    assert isinstance(source, fx.Node)
    if GRID not in source.meta:
        raise ModelError(f"Layer {found.path!r} reads {source.name!r}, which has no grid; keep the layer float.")
    result = found.result
    with graph.inserting_before(result):
        layer = graph.get_attr(found.path)
        norm = None if found.norm is None else graph.get_attr(found.norm)
        grid = graph.get_attr(f"{HOLDER}.grids.{source.meta[GRID]}")
        call = graph.call_module(target, (source, layer, norm, grid, phase))
    call.meta = {
        LAYER: found.path,
        RANK: found.rank,
        **{key: result.meta[key] for key in (GRID,) if key in result.meta},
    }
    result.replace_all_uses_with(call)
    graph.erase_node(result)
    if found.norm_node is not None:
        graph.erase_node(found.node)


def is_simulation(model: nn.Module) -> TypeGuard[fx.GraphModule]:
    """True for what :func:`prepare` returns, and its copies."""
    return isinstance(model, fx.GraphModule) and HOLDER in model._modules


def simulation(model: nn.Module) -> fx.GraphModule:
    """The model itself, if it is a simulation.

    Raises:
        ModelError: If it is none.
    """
    if not is_simulation(model):
        raise ModelError(
            f"{type(model).__name__} is not quantized. Give what convslim.quantize (field `model`) or "
            "convslim.quantize.prepare returned."
        )
    return model


def clock_of(model: fx.GraphModule) -> Clock:
    """The clock of a simulation."""
    clock = model.get_submodule(f"{HOLDER}.clock")
    assert isinstance(clock, Clock)
    return clock


def grids_of(model: fx.GraphModule) -> dict[str, ActivationQuantizer]:
    """The quantizers of a simulation by name."""
    found = model.get_submodule(f"{HOLDER}.grids").named_children()
    return {name: module for name, module in found if isinstance(module, ActivationQuantizer)}


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a simulation that the user's class has, as its ``state_dict`` names them."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(f"{HOLDER}.")}


class LayerCall(NamedTuple):
    """What a quantized layer's node says: names of the layer, its BatchNorm, and the grid of its input."""

    source: fx.Node
    layer: str
    norm: str | None
    grid: str


def call_of(node: fx.Node) -> LayerCall:
    """Read the node of a quantized layer."""
    source, layer, norm, grid, _ = node.args
    assert isinstance(source, fx.Node)
    assert isinstance(layer, fx.Node)
    assert isinstance(grid, fx.Node)
    path = str(norm.target) if isinstance(norm, fx.Node) else None
    return LayerCall(source, str(layer.target), path, str(grid.target).rpartition(".")[2])


def calls_of(model: fx.GraphModule) -> Mapping[str, fx.Node]:
    """The nodes that call quantized layers, by the layer's name; a layer that is called twice by its first call."""
    found: dict[str, fx.Node] = {}
    for node in model.graph.nodes:
        if LAYER in node.meta:
            found.setdefault(node.meta[LAYER], node)
    return found
