"""`convslim bench`: latency of files and networks, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from convslim.cli.bench_table import bench_tables, profile_lines, setting
from convslim.cli.console import note, out, say, watching
from convslim.cli.export import from_artifact
from convslim.cli.network import build, example_input
from convslim.measure.bench import Bench
from convslim.measure.bench import bench as measure
from convslim.measure.kernels import Kernel, profile_onnx
from convslim.measure.runtimes import COMPILED, EXTRAS, OPENVINO, Subject, network, onnx_file, onnx_file_in_openvino
from convslim.measure.session import random_feeds
from convslim.report.run_files import ORIGINAL
from convslim.train.devices import threads as limited_threads


def bench(
    subjects: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE_OR_NETWORK...",
            help="ONNX files; folders of runs or of pruned "
            "networks, resnet56_cifar, timm:NAME, …: these run in PyTorch.",
        ),
    ],
    batch: Annotated[str, typer.Option(help="Batch sizes, with commas: 1,32.")] = "1",
    threads: Annotated[int, typer.Option(min=1, help="Threads that each may use.")] = 1,
    baseline: Annotated[
        str | None, typer.Option(help="What speed-ups refer to; otherwise original.onnx, or the first.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(help="openvino: files in OpenVINO too; compiled: networks with torch.compile too."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed calls of each.")] = 100,
    warmup: Annotated[int, typer.Option(min=0, help="Calls of each before.")] = 10,
    shape: Annotated[
        str | None, typer.Option("--input", help="Input shape N,C,H,W where it is not known; N is --batch.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Option of the networks: KEY=VALUE, repeatable.")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code of yours that a folder names.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Also time every layer of the ONNX files.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON on standard output.")] = False,
) -> None:
    """Measure latency: several files and networks in turn, so that noise hits all alike.

    Examples:

      convslim bench runs/r56/original.onnx runs/r56/model.onnx

      convslim bench resnet56_cifar dense.onnx int8.onnx --batch 1,32 --threads 2 --baseline dense.onnx

      convslim bench int8.onnx --profile

      convslim bench model.onnx timm:resnet18 --input 1,3,224,224 --also openvino --also compiled --json
    """
    batches = _batches(batch)
    extras = also or []
    if unknown := set(extras) - set(EXTRAS):
        raise typer.BadParameter(f"--also {', '.join(sorted(unknown))}: give {' or '.join(EXTRAS)}.")
    size = None if shape is None else example_input("", shape).shape[1:]
    reference = baseline or next((text for text in subjects if Path(text).name == ORIGINAL), None)
    with limited_threads(threads):
        found = [
            each for text in subjects for each in _subjects(text, shape, option or [], threads, extras, trust=trust)
        ]
        with watching(quiet=quiet) as watch:
            result = measure(
                found,
                batches=batches,
                threads=threads,
                repeats=repeats,
                warmup=warmup,
                baseline=reference,
                watch=watch,
            )
            feeds = partial(random_feeds, batch=batches[0], shape=size)
            files = [text for text in subjects if _is_file(text)] if profile else []
            profiles = {text: profile_onnx(text, feeds, threads=threads, repeats=repeats) for text in files}
    if as_json:
        say(json.dumps(_data(result, profiles), indent=1))
    else:
        say(setting(result))
        for table in bench_tables(result):
            out().print(table)  # long names of files are folded
        for text in (line for name, kernels in profiles.items() for line in profile_lines(name, kernels, batches[0])):
            say(text)
    for skipped in result.skipped:
        note(f"skipped: {skipped.name} in {skipped.runtime} at batch {skipped.batch}: {skipped.reason}")
    for text in result.notes:
        note(f"note: {text}")


def _batches(text: str) -> tuple[int, ...]:
    try:
        batches = tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"--batch {text}: write sizes with commas between them, for example 1,32.") from error
    if min(batches) < 1:
        raise typer.BadParameter(f"--batch {text}: every size must be at least 1.")
    return tuple(dict.fromkeys(batches))


def _is_file(text: str) -> bool:
    return text.endswith(".onnx") or Path(text).is_file()


def _subjects(
    text: str, shape: str | None, options: list[str], threads: int, also: list[str], *, trust: bool
) -> Iterator[Subject]:
    """What a word of the command line stands for, in every runtime that was asked for."""
    if _is_file(text):
        size = None if shape is None else example_input("", shape).shape[1:]
        yield onnx_file(Path(text), threads=threads, shape=size)
        if OPENVINO in also:
            yield onnx_file_in_openvino(Path(text), threads=threads, shape=size)
        return
    if Path(text).is_dir():
        model, example = from_artifact(Path(text), shape, trust=trust)
    else:
        model, example = build(text, options), example_input(text, shape)
    yield network(text, model, example)
    if COMPILED in also:
        yield network(text, model, example, compiled=True)


def _data(result: Bench, profiles: dict[str, tuple[Kernel, ...]]) -> dict[str, object]:
    kernels = {
        name: [{**asdict(kernel), "integer": kernel.integer} for kernel in found] for name, found in profiles.items()
    }
    return {**asdict(result), "profiles": kernels}
