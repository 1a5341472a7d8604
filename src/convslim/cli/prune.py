"""`convslim prune`: cut a network once, without training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from convslim.allocate import Allocation, solve
from convslim.channels.graph import ChannelGraph
from convslim.channels.trace import trace
from convslim.cli.budget import change, known_arithmetic, parse_budget
from convslim.cli.console import say
from convslim.cli.network import build, example_input, parse_options
from convslim.cli.promise import promise_line
from convslim.criteria import score
from convslim.pipeline.timer import Timer
from convslim.surgery import Certificate
from convslim.surgery.artifact import save
from convslim.surgery.remove import carry_out


def prune(
    model: Annotated[str, typer.Argument(help="resnet56_cifar, timm:NAME, package.module:factory, …")],
    budget: Annotated[list[str], typer.Option(help="macs=0.5, params=400000, latency=0.5 or ms=3; repeatable.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the pruned network.")],
    weights: Annotated[Path | None, typer.Option(help=".safetensors, .pt or .pth file.")] = None,
    criterion: Annotated[str, typer.Option(help="bn_scale, l1, l2, fpgm or random.")] = "l1",
    allocation: Annotated[str, typer.Option(help="global or uniform.")] = "global",
    round_to: Annotated[int, typer.Option(help="Widths become multiples of this.")] = 8,
    keep: Annotated[list[str] | None, typer.Option(help="Pattern of layers to leave whole, repeatable.")] = None,
    ways: Annotated[
        str, typer.Option(help="class, graph or both: what may be cut, see docs/numbers-in-code.md.")
    ] = "class,graph",
    exact: Annotated[
        bool, typer.Option("--exact", help="Leave channels whole that others are normalized with (LayerNorm, …).")
    ] = False,
    shape: Annotated[str | None, typer.Option("--input", help="Input shape N,C,H,W.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images a call, for a budget of latency.")] = 1,
    arithmetic: Annotated[str, typer.Option(help="float32 or int8: of which file a budget of latency is.")] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime, for a budget of latency.")] = 1,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Option of the network: KEY=VALUE, repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="What was done, as JSON on standard output.")] = False,
) -> None:
    """Cut a network to a budget and save it, proven equal to the masked original.

    Nothing is trained: to win accuracy back use a recipe, [bold]convslim run[/bold].

    Examples:

      convslim prune resnet56_cifar --weights r56.safetensors --budget macs=0.5 --out pruned

      convslim prune timm:resnet50 --budget params=12000000 --criterion fpgm --out pruned

      convslim prune timm:mobilenetv2_100 --budget latency=0.6 --threads 2 --out pruned

      convslim prune resnet56_cifar --budget latency=0.85 --arithmetic int8 --round-to 16 --out pruned
    """
    if allocation not in ("global", "uniform"):
        raise typer.BadParameter(f"--allocation {allocation}: give global or uniform.")
    mode = known_arithmetic(arithmetic)
    network, example = build(model, option or [], weights), example_input(model, shape)
    graph = trace(network, example, ways=ways.split(","), approximate=not exact)
    wanted, scores = parse_budget(budget), score(graph, network, criterion)
    solution = solve(
        graph,
        scores,
        wanted,
        how="global" if allocation == "global" else "uniform",
        round_to=round_to,
        keep=keep or (),
        latency=Timer(wanted, threads, batch, arithmetic=mode)(graph, network, example),
    )
    removal = carry_out(network, solution.plan, example, graph=graph)
    promised = None if solution.latency is None else solution.latency.to_data()
    record = {
        "model": {"spec": model, "options": parse_options(option or [])},
        "input": list(example.shape),
        "criterion": criterion,
        "macs": [solution.original_macs, solution.macs],
        "params": [solution.original_params, solution.params],
        "latency": promised,
    }
    save(removal.model, out_dir, plan=solution.plan, record=record)
    if as_json:
        notes = [*graph.notes, *solution.notes]
        say(json.dumps({**record, "way": graph.way, "notes": notes, "proof": asdict(removal.certificate)}, indent=1))
        return
    for text in _lines(graph, solution, removal.certificate):
        say(text)
    say(f"Verified and saved in {out_dir}")


def _lines(graph: ChannelGraph, solution: Allocation, certificate: Certificate) -> Iterator[str]:
    """What was done, for people."""
    yield from (f"note: {text}" for text in (*graph.notes, *solution.notes))
    yield f"Way        {graph.way}: {graph.way_reason}"
    if not certificate.exact:
        number = certificate.num_approximate
        yield f"Normalized {number} groups lost channels that others are normalized with; --exact leaves them whole"
    yield f"MACs       {change(solution.original_macs, solution.macs)}"
    yield f"parameters {change(solution.original_params, solution.params)}"
    if solution.latency is not None:
        yield promise_line(solution.latency.to_data())
