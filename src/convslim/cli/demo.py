"""`convslim demo`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer
from rich import box
from rich.table import Table

from convslim.cli.console import note, say, show
from convslim.cli.run import Quiet, run_in
from convslim.pipeline import Recipe, load_recipe, parse_recipe
from convslim.pipeline import run as run_recipe
from convslim.report import RunRecord, StepRecord
from convslim.report.run_files import read_runs
from convslim.report.write import COMPARISON, write_comparison

CUT_BY: Final = "steps.prune.criterion="
METHODS: Final[dict[str, tuple[str, list[str]]]] = {
    "gfr": ("digits-gfr", []),
    "joint": ("digits-joint", ["steps.export.latency=null"]),
    "activeness": ("digits-activeness", []),
    "self-selection": ("digits-self-selection", ["steps.export.latency=null"]),
    "sparse-genetic": ("digits-sparse-genetic", ["steps.export.latency=null"]),
    "l1": ("digits-activeness", [f"{CUT_BY}l1"]),
    "random": ("digits-activeness", [f"{CUT_BY}random"]),
}
"""The methods beside the demo's own, `slim`: name → recipe and changes to it."""


def demo(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of the run; an earlier demo in it is replaced.")
    ] = Path("convslim-demo"),
    quiet: Quiet = False,
) -> None:
    """Train, prune by several methods, fine-tune and export a small network on embedded data: under two minutes.

    Example: [bold]convslim demo[/bold]
    """
    first = run_in(load_recipe("demo"), ["demo"], out_dir, resume=False, overwrite=True, quiet=quiet)
    records = {"slim": first}
    trained = out_dir / "steps" / "01-train" / "model" / "model.safetensors"
    for number, (name, (recipe, changes)) in enumerate(METHODS.items(), start=1):
        whole = load_recipe(recipe, changes)
        try:
            records[name] = run_recipe(
                _from_trained(whole, trained), out_dir / "methods" / name, overwrite=True, quiet=True
            )
        except KeyboardInterrupt:
            note(f"Interrupted. Start again with: convslim demo --out {out_dir}")
            raise typer.Exit(130) from None
        if not quiet and os.environ.get("RANK", "0") == "0":
            say(f"[{number}/{len(METHODS)}] {name}")
    if os.environ.get("RANK", "0") == "0":
        show(methods_table(first.steps[0], records))
        folders = [out_dir, *(out_dir / "methods" / name for name in METHODS)]
        say(f"Side by side: {write_comparison(read_runs(folders), out_dir / COMPARISON)}")


def _from_trained(recipe: Recipe, weights: Path) -> Recipe:
    """The recipe without its first training, from weights that are there already."""
    data = recipe.to_data()
    return parse_recipe({**data, "model": {**data["model"], "weights": str(weights)}, "steps": data["steps"][1:]})


def methods_table(trained: StepRecord, records: dict[str, RunRecord]) -> Table:
    """What each method made of one trained network; seconds without its training, and without export and timing."""
    title = "one trained network, several methods: test accuracy"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    for heading in ("MACs", "%", "cut", "BN re-est.", "fine-tuned", "int8", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("unpruned", f"{trained.macs:,}", "100.0", "", "", _percent(trained), "", f"{trained.seconds:.1f}")
    for name, record in records.items():
        integers = [step for step in record.steps if step.kind == "quantize"]
        evaluated = [step for step in record.steps if step.accuracy is not None and step not in integers]
        cut = next(number for number, step in enumerate(evaluated) if step.macs < trained.macs)
        between = [_percent(step) for step in evaluated[cut:-1]] or ["–", "–"]  # one step may cut and train
        tuned = evaluated[-1]
        seconds = sum(step.seconds for step in record.steps if step.kind not in ("train", "export", "bench"))
        share = f"{100 * tuned.macs / trained.macs:.1f}"
        small = _percent(integers[-1]) if integers else "–"
        table.add_row(name, f"{tuned.macs:,}", share, *between, _percent(tuned), small, f"{seconds:.1f}")
    return table


def _percent(step: StepRecord) -> str:
    return "–" if step.accuracy is None else f"{100 * step.accuracy:.2f} %"
