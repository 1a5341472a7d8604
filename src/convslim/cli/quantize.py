"""`convslim quantize`: an int8 ONNX file from a trained network and images without labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer
from torch import nn

from convslim.cli.calibration import Calibration, Choice, batches, calibration
from convslim.cli.compress_report import Clock, effort, image_facts, image_lines, int8_lines
from convslim.cli.console import say
from convslim.cli.export import network_of
from convslim.cli.image_options import (
    AsJson,
    BadImages,
    Crop,
    GrayImages,
    Images,
    Mean,
    Options,
    Quiet,
    Resize,
    Seed,
    Size,
    Std,
    Threads,
)
from convslim.cli.int8_file import How, int8_file
from convslim.cli.labeled import answers
from convslim.cli.network import build
from convslim.cli.preprocessing import Wishes, parse_wishes
from convslim.compress import fitted_and_held
from convslim.data.unlabeled import Bad, Gray
from convslim.quantize.ptq import Ranges, Rounding
from convslim.train.devices import threads as limited_threads


def quantize(
    model: Annotated[str, typer.Argument(help="Folder of a pruned network or of a run, or a network by name.")],
    images: Images,
    out_file: Annotated[Path, typer.Option("--out", help="The ONNX file.")],
    weights: Annotated[Path | None, typer.Option(help=".safetensors, .pt or .pth file, for a network by name.")] = None,
    option: Options = None,
    keep_float: Annotated[list[str] | None, typer.Option(help="Pattern of layers that stay float, repeatable.")] = None,
    ranges: Annotated[str, typer.Option(help="Of activations: minmax, percentile or mse.")] = "mse",
    rounding: Annotated[str, typer.Option(help="Of weights: nearest or reconstruct.")] = "nearest",
    equalize: Annotated[bool, typer.Option(help="Equalize channels' ranges across pairs of layers first.")] = False,
    num_images: Annotated[int, typer.Option(min=1, help="How many images to use; a fifth is compared on.")] = 600,
    seed: Seed = 0,
    bad: BadImages = "skip",
    gray: GrayImages = "convert",
    size: Size = None,
    resize: Resize = None,
    crop: Crop = None,
    mean: Mean = None,
    std: Std = None,
    threads: Threads = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code of yours that the folder names.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a network in 8-bit integers, calibrated on images without labels, and measure the file.

    Examples:

      convslim quantize runs/r56/model --images pictures/ --size 32 --out r56-int8.onnx

      convslim quantize timm:resnet18 --option pretrained=true --images pictures/ --out resnet18-int8.onnx
    """
    how = How(
        tuple(keep_float or ()),
        cast(Ranges, _one_of("--ranges", ranges, get_args(Ranges))),
        cast(Rounding, _one_of("--rounding", rounding, get_args(Rounding))),
        equalize,
    )
    wishes = parse_wishes(size, resize, crop, mean, std)
    choice = Choice(num_images, seed, cast(Bad, bad), cast(Gray, gray), quiet)
    clock = Clock()
    with limited_threads(threads):
        given = _given(model, option or [], weights, trust)
        found = calibration(images, given.spec, given.network, given.preferring(wishes), choice)
        clock.lap("to read images")
        record = _measured(given, found, how, out_file, clock, quiet=quiet)
    if as_json:
        say(json.dumps(record | {"seconds": clock.laps}, indent=1))
        return
    for text in image_lines(record["images"]):
        say(text)
    for text in (*(f"note: {note}" for note in record["notes"]), *int8_lines(record["int8"])):
        say(text)
    if record["correct"] is not None:
        say(f"  the float network is right on {record['correct']:,}")
    say(effort(clock))


@dataclass(frozen=True, eq=False)
class _Given:
    """The network, its name, and the options of the data that it was trained on, as far as they are known."""

    network: nn.Module
    spec: str
    options: Mapping[str, Any]

    def preferring(self, wishes: Wishes) -> Wishes:
        """The wishes; what they leave open is as in the training."""
        mean, std = self.options.get("mean"), self.options.get("std")
        return replace(wishes, mean=wishes.mean or (mean and tuple(mean)), std=wishes.std or (std and tuple(std)))


def _given(model: str, options: list[str], weights: Path | None, trust: bool) -> _Given:
    if not Path(model).is_dir():
        return _Given(build(model, options, weights), model, {})
    network, record, _ = network_of(Path(model), trust=trust)
    recipe = record.get("recipe", record)
    return _Given(network, recipe["model"]["spec"], recipe.get("data", {}).get("options", {}))


def _measured(
    given: _Given, found: Calibration, how: How, out_file: Path, clock: Clock, *, quiet: bool
) -> dict[str, Any]:
    """Write the file, and everything that there is to know of it."""
    inputs = batches(found.images.split)
    fitted, held = (sum(map(len, part)) for part in fitted_and_held(inputs))
    correct = None
    if found.test is not None:  # before the work: wrong labels or preprocessing are seen at once
        before = answers(given.network, found.test, quiet=quiet)
        correct = int((before.classes == before.labels).sum())
        clock.lap("to evaluate")
    written = int8_file(given.network, given.network, inputs, found.test, out_file, how)
    clock.lap("to quantize")
    images = image_facts(found, fitted, held)
    return {"model": given.spec, "images": images, "notes": found.notes, "correct": correct, "int8": written}


def _one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise typer.BadParameter(f"{option} {value}: write one of {', '.join(known)}.")
    return value
