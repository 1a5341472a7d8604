"""What `convslim run --dry-run` prints: what a run will take, before it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from convslim.cli.console import say, watching
from convslim.pipeline import Recipe
from convslim.pipeline.estimate import Estimate, estimate
from convslim.report.numbers import byte_text
from convslim.report.sections.headline import duration


def dry_run(recipe: Recipe, folder: Path, *, as_json: bool, quiet: bool) -> None:
    """Check the recipe against network and data, time a few steps, and say what the run will take."""
    with watching(quiet=quiet) as watch:
        found = estimate(recipe, folder, watch=watch)
    if as_json:
        say(json.dumps({**asdict(found), "seconds": found.seconds}, indent=1))
        return
    for line in _lines(recipe, found, folder):
        say(line)


def _lines(recipe: Recipe, found: Estimate, folder: Path) -> Iterator[str]:
    total = len(found.steps)
    yield f"{recipe.name}: the recipe fits its network and data; nothing was written."
    for number, step in enumerate(found.steps, start=1):
        yield f"[{number}/{total}] {step.kind:<11} about {duration(step.seconds)}"
    yield f"Time    about {duration(found.seconds)}, on this machine as busy as it is now"
    if found.memory is not None:
        present = "" if found.memory_present is None else f" of {byte_text(found.memory_present)}"
        yield f"Memory  {byte_text(found.memory)}{present}"
    yield f"Disk    about {byte_text(found.disk)}, {byte_text(found.disk_free)} are free for {folder}"
    if found.disk > found.disk_free:
        yield "Warning: the disk will not take it. Give another folder with --out."
    if found.memory is not None and found.memory_present is not None and found.memory > 0.9 * found.memory_present:
        yield "Warning: the memory will hardly take it. Lower batch_size."
