"""`convslim init`: a first recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convslim.cli.budget import parse_budget
from convslim.cli.console import say
from convslim.cli.network import parse_options
from convslim.errors import ArtifactError
from convslim.files import replace_text
from convslim.pipeline.starter import Start, starter_recipe


def init(
    model: Annotated[str, typer.Argument(help="resnet56_cifar, timm:NAME, package.module:factory, my_nets.py:Small …")],
    data: Annotated[str, typer.Argument(help="digits, cifar10, imagefolder:PATH, package.module:factory, …")],
    out_file: Annotated[Path, typer.Option("--out", help="The recipe.")] = Path("recipe.yaml"),
    budget: Annotated[list[str] | None, typer.Option(help="What may remain: macs=0.5 or params=400000.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Trained weights: .safetensors, .pt or .pth file.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Option of the network: KEY=VALUE, repeatable.")
    ] = None,
    data_option: Annotated[
        list[str] | None, typer.Option("--data-option", help="Option of the data: KEY=VALUE, repeatable.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a commented recipe for a network and data, after looking at both.

    Examples:

      convslim init timm:resnet18 imagefolder:pictures --option pretrained=true

      convslim init timm:resnet18 imagefolder:pictures --data-option size=64 --weights mine.pth

      convslim init resnet56_cifar cifar10 --weights r56.safetensors --budget macs=0.4 --out r56.yaml
    """
    if out_file.exists() and not overwrite:
        raise ArtifactError(f"{out_file} is there already. Replace it with --overwrite, or give another --out.")
    options = parse_options(option or [])
    trained = weights is not None or bool(options.get("pretrained")) or "weights" in options
    wanted = parse_budget(budget or ["macs=0.5"])
    start = Start(model, data, options, parse_options(data_option or []), weights, wanted, trained)
    replace_text(out_file, starter_recipe(start))
    say(f"Recipe: {out_file}")
    say(f"Next:   convslim run {out_file} --dry-run")
