"""`convslim inspect`: which channels belong together, what is pinned and why, what it costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from convslim.channels.graph import ChannelGraph, ChannelGroup
from convslim.channels.trace import trace
from convslim.cli.console import out, say
from convslim.cli.network import build, example_input
from convslim.measure.cost import Cost, cost


def inspect(
    model: Annotated[
        str, typer.Argument(help="resnet56_cifar, timm:NAME, torchvision:NAME, package.module:factory, …")
    ],
    shape: Annotated[str | None, typer.Option("--input", help="Input shape N,C,H,W.")] = None,
    group: Annotated[str | None, typer.Option(help="Explain one group, or all groups of one module.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Option of the network: KEY=VALUE, repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Show a network's channel groups: who makes and reads them, what binds them, what pins them and why.

    Examples:

      convslim inspect resnet56_cifar

      convslim inspect timm:resnet50 --group layer1.0.conv1

      convslim inspect my_nets.py:small --input 1,3,64,64 --json
    """
    network, example = build(model, option or []), example_input(model, shape)
    graph, size = trace(network, example), cost(network, example)
    if group is not None:
        say(graph.explain(group))
    elif as_json:
        say(json.dumps(_as_data(model, graph, size), indent=2))
    else:
        out().print(_table(model, graph))
        _summary(graph, size)


def _table(model: str, graph: ChannelGraph) -> Table:
    table = Table(title=f"{model}: channel groups", title_justify="left")
    table.add_column("group", overflow="fold")
    table.add_column("channels", justify="right")
    for heading in ("made by", "read by", "bound by, pinned by"):
        table.add_column(heading, overflow="fold")
    for group in graph.groups:
        why = "; ".join([*group.constraints, *(f"pinned: {pin}" for pin in group.pins)])
        table.add_row(group.name, str(group.num_channels), _brief(group.producers), _brief(group.consumers), why or "–")
    return table


def _brief(names: tuple[str, ...], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) + more) or "–"


def _summary(graph: ChannelGraph, size: Cost) -> None:
    channels = sum(group.num_channels for group in graph.groups)
    prunable = sum(group.num_channels for group in graph.prunable)
    say(
        f"{len(graph.prunable)} of {len(graph.groups)} groups and {prunable:,} of {channels:,} channels are "
        f"prunable.\n{size.macs:,} MACs for one input, {size.params:,} parameters."
    )
    for name in graph.unused:
        say(f"note: parameter {name} is not reached by the example input")
    for text in graph.notes:
        say(f"note: {text}")


def _as_data(model: str, graph: ChannelGraph, size: Cost) -> dict[str, Any]:
    return {
        "model": model,
        "structure": graph.structure,
        "macs": size.macs,
        "params": size.params,
        "groups": [_group_data(group) for group in graph.groups],
        "layers": [
            {"module": layer.module, "operation": layer.operation, "macs": layer.macs, "params": layer.params}
            for layer in size.layers
        ],
        "unused": list(graph.unused),
        "notes": list(graph.notes),
    }


def _group_data(group: ChannelGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "channels": group.num_channels,
        "prunable": group.prunable,
        "producers": list(group.producers),
        "consumers": list(group.consumers),
        "constraints": list(group.constraints),
        "pins": [
            {
                "reason": pin.reason,
                "operation": pin.operation,
                "module": pin.module,
                "source": Path(pin.source).name,
            }
            for pin in group.pins
        ],
    }
