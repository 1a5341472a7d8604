"""`convslim compress`: cut a trained network and refit what is left on images without labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, cast

import typer

from convslim.cli.budget import known_arithmetic, parse_budget
from convslim.cli.calibration import Choice, batches, calibration
from convslim.cli.compress_report import Clock, effort, facts, lines
from convslim.cli.console import note, say, watching
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
from convslim.cli.labeled import answers, compared
from convslim.cli.memory import memory_note
from convslim.cli.network import build, parse_options
from convslim.cli.preprocessing import parse_wishes
from convslim.compress import compress as compress_model
from convslim.data.unlabeled import Bad, Gray
from convslim.export import ExportReport, export_onnx
from convslim.pipeline.timer import Timer
from convslim.surgery.artifact import check_place, save
from convslim.train.devices import threads as limited_threads


def compress(
    model: Annotated[str, typer.Argument(help="resnet56_cifar, timm:NAME, package.module:factory, …")],
    images: Images,
    budget: Annotated[list[str], typer.Option(help="macs=0.6, params=400000, latency=0.5 or ms=3; repeatable.")],
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder for the smaller network.")] = None,
    onnx: Annotated[Path | None, typer.Option("--onnx", help="Also write an ONNX file, compared with PyTorch.")] = None,
    int8: Annotated[Path | None, typer.Option("--int8", help="Also write an int8 ONNX file, measured itself.")] = None,
    weights: Annotated[Path | None, typer.Option(help=".safetensors, .pt or .pth file.")] = None,
    option: Options = None,
    num_images: Annotated[int, typer.Option(min=1, help="How many images to use; a fifth of them is held out.")] = 1024,
    seed: Seed = 0,
    bad: BadImages = "skip",
    gray: GrayImages = "convert",
    size: Size = None,
    resize: Resize = None,
    crop: Crop = None,
    mean: Mean = None,
    std: Std = None,
    round_to: Annotated[int, typer.Option(help="Widths become multiples of this.")] = 8,
    keep: Annotated[list[str] | None, typer.Option(help="Pattern of layers to leave whole, repeatable.")] = None,
    threads: Threads = None,
    batch: Annotated[int, typer.Option(min=1, help="Images a call, for a budget of latency.")] = 1,
    arithmetic: Annotated[str, typer.Option(help="float32 or int8: of which file a budget of latency is.")] = "float32",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Cut a trained network to a budget and refit what is left by least squares: no labels, no training.

    How equal the result is to the original is measured on images that nothing was fitted on.

    Examples:

      convslim compress resnet56_cifar --weights r56.safetensors --images pictures/ --budget macs=0.6 --out small

      convslim compress timm:resnet50 --option pretrained=true --images pictures/ --budget macs=0.6 --onnx small.onnx

      convslim compress resnet56_cifar --weights r56.safetensors --images pictures/ --budget macs=0.5 --int8 small.onnx

      convslim compress my_nets.py:small --images imagefolder:/data --size 64 --budget macs=0.5,params=0.5 --out small
    """
    if out_dir is not None:
        check_place(out_dir)  # better now than after a minute of work
    wanted, wishes = parse_budget(budget), parse_wishes(size, resize, crop, mean, std)
    mode = known_arithmetic(arithmetic)
    choice = Choice(num_images, seed, cast(Bad, bad), cast(Gray, gray), quiet)
    clock = Clock()
    with limited_threads(threads):
        network = build(model, option or [], weights)
        found = calibration(images, model, network, wishes, choice)
        if warning := memory_note(found.images.split):
            note(f"note: {warning}")
        inputs = batches(found.images.split)
        clock.lap("to read images")
        before = None
        if found.test is not None:  # before the work: wrong labels or preprocessing are seen at once
            before = answers(network, found.test, quiet=quiet)
            clock.lap("to evaluate")
        timer = Timer(wanted, threads or 1, batch, quiet=True, arithmetic=mode)
        with watching(quiet=quiet) as watch:
            done = compress_model(network, inputs, wanted, round_to=round_to, keep=keep or (), watch=watch, timer=timer)
        clock.lap("to compress")
        tested = None
        if found.test is not None and before is not None:
            tested = compared(before, answers(done.model, found.test, quiet=quiet))
            clock.lap("to evaluate")
        integers = None if int8 is None else int8_file(network, done.model, inputs, found.test, int8, How())
        if int8 is not None:
            clock.lap("to quantize")
        named = {"model": {"spec": model, "options": parse_options(option or [])}, "budget": wanted, "seed": seed}
        record = {**named, **facts(done, found, tested, clock), "int8": integers}
        if out_dir is not None:
            save(done.model, out_dir, plan=done.allocation.plan, record=record)
        exported = None if onnx is None else export_onnx(done.model, inputs[0][:1], onnx)
        clock.lap("to save")
    if as_json:
        say(json.dumps(record, indent=1))
        return
    for text in (*lines(record), *_files(out_dir, exported, int8 is not None), effort(clock)):
        say(text)


def _files(out_dir: Path | None, exported: ExportReport | None, wrote_int8: bool) -> Iterator[str]:
    if out_dir is not None:
        yield f"Saved in {out_dir}"
    if exported is not None:
        yield (
            f"{exported.path}: {exported.bytes:,} bytes, opset {exported.opset}; ONNX Runtime agrees with PyTorch to "
            f"{exported.max_error:.1e}."
        )
    if out_dir is None and exported is None and not wrote_int8:
        yield "Nothing was saved: give --out, --onnx or --int8 for that."
