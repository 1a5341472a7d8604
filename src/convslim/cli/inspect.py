"""`convslim inspect`: which channels belong together, what is pinned and why, what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from convslim.channels.trace import trace
from convslim.cli.console import note, out, say
from convslim.cli.inspect_table import groups_table
from convslim.cli.network import build, example_input
from convslim.files import replace_text
from convslim.report import WAYS, GraphRecord, counted, graph_page, graph_record, share_text


def inspect(
    model: Annotated[
        str, typer.Argument(help="resnet56_cifar, timm:NAME, torchvision:NAME, package.module:factory, …")
    ],
    shape: Annotated[str | None, typer.Option("--input", help="Input shape N,C,H,W.")] = None,
    group: Annotated[str | None, typer.Option(help="Explain one group, or all groups of one module.")] = None,
    pinned: Annotated[bool, typer.Option("--pinned", help="List only the groups that may not be pruned.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page with the groups as a graph.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Option of the network: KEY=VALUE, repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Show a network's channel groups: who makes and reads them, what binds them, what pins them and why.

    Examples:

      convslim inspect resnet56_cifar

      convslim inspect timm:resnet50 --group layer1.0.conv1

      convslim inspect timm:res2net50_26w_4s --pinned --html res2net.html

      convslim inspect my_nets.py:small --input 1,3,64,64 --json
    """
    if sum((group is not None, pinned, as_json)) > 1:
        raise typer.BadParameter("--group, --pinned and --json exclude each other; --html goes with each of them.")
    graph = trace(build(model, option or []), example_input(model, shape))
    record = graph_record(graph, model)
    if group is not None:
        say(graph.explain(group))
    elif as_json:
        say(record.model_dump_json(indent=2))
    else:
        console = out()
        table, reasons = groups_table(record, pinned, console.width)
        console.print(table)
        say("\n".join([*reasons, *_summary(record)]))
    if html is not None:
        # With --json, standard output is for a program.
        (note if as_json else say)(f"Page: {replace_text(html, graph_page(record))}")


def _summary(record: GraphRecord) -> Iterator[str]:
    free = [group for group in record.groups if group.prunable]
    approximate = sum(not group.exact for group in free)
    extent = f" ({counted(approximate, 'group')} only approximately)" if approximate else ""
    yield (
        f"{len(free)} of {counted(len(record.groups), 'group')} and {record.channels('prunable', 'approximate'):,} of "
        f"{counted(record.channels(), 'channel')} are prunable{extent}."
    )
    yield f"{share_text(record.macs_prunable, record.macs)} of the MACs depend on them."
    yield f"{record.macs:,} MACs for one input, {record.params:,} parameters."
    yield f"A pruned model {WAYS[record.way]}: {record.way_reason.rstrip('.')}."
    yield from (f"note: parameter {name} is not reached by the example input" for name in record.unused)
    yield from (f"note: {text}" for text in record.notes)
