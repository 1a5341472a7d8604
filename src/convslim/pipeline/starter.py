"""A first recipe for a network and data, written after looking at both."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
import yaml
from torch import Tensor, nn

from convslim import models
from convslim.channels.graph import ChannelGraph
from convslim.channels.trace import trace
from convslim.data import DataSource, open_data
from convslim.errors import ModelError, RecipeError
from convslim.models.pictures import picture_config, scaled_side
from convslim.pipeline.environment import expand
from convslim.pipeline.recipe import parse_recipe
from convslim.report.graph_facts import graph_record
from convslim.report.graph_headline import WAYS
from convslim.report.graph_record import GraphRecord
from convslim.report.numbers import share_text
from convslim.surgery.weights import load_weights

STEPS_WANTED: Final = 6000
"""Training steps of a fine-tuning, roughly; more helps, at the price of time."""
WIDE: Final = 64
"""Channels of a layer of which a cut in multiples of 16, fast in integers, still leaves a choice."""
FOLDERS: Final = "imagefolder:"
"""Data sets of pictures that are scaled and normalized while they are read."""
COVERED: Final = 0.8
"""Share of the channels that could go from which BatchNorm scales are a fair way to rank them."""


@dataclass(frozen=True)
class Start:
    """What a first recipe is written for.

    Attributes:
        model, data: Their specs.
        options: Of the network.
        data_options: Of the data set.
        weights: File of its weights.
        budget: What may remain.
        trained: Whether the network comes with trained weights; otherwise it is trained first.
    """

    model: str
    data: str
    options: Mapping[str, Any]
    data_options: Mapping[str, Any]
    weights: Path | None
    budget: Mapping[str, float]
    trained: bool


@dataclass(frozen=True)
class _Seen:
    """What a look at network and data showed."""

    options: Mapping[str, Any]
    data_options: Mapping[str, Any]
    source: DataSource
    record: GraphRecord
    scaled: float
    batch_size: int
    epochs: int


def starter_recipe(start: Start) -> str:
    """The recipe as commented YAML; it is valid for this network and this data.

    Raises:
        ModelError: the network cannot be built, does not take the images, or has another number of outputs than the
            data has classes.
        DataError: the data set cannot be opened.
        RecipeError: the data set is not one of images with classes.
    """
    seen = _look(start)
    text = "\n".join([*_head(start, seen), "steps:", *_steps(start, seen)]) + "\n"
    parse_recipe(yaml.safe_load(text), name="the new recipe")
    return text


def _look(start: Start) -> _Seen:
    network = models.create(start.model, **start.options)
    data_options = _pictures(start, network)
    source = open_data(expand(start.data, "the data set"), **data_options)
    if source.train.task != "classification":
        raise RecipeError(
            f"'{start.data}' has boxes, and a first recipe is for classifiers. Start from a recipe for detectors: "
            "convslim recipes lists them."
        )
    model, options = _fitting(start, source, network)
    graph = trace(model, source.example_input())
    images = len(source.train)
    batch_size = next(size for size, least in ((128, 20_000), (64, 1_000), (16, 0)) if images >= least)
    epochs = min(40, max(3, round(STEPS_WANTED * batch_size / images)))
    return _Seen(
        options, data_options, source, graph_record(graph, start.model), _scaled(graph, model), batch_size, epochs
    )


def _pictures(start: Start, network: nn.Module) -> Mapping[str, Any]:
    """Options of the data: those wished, and pictures as the network was trained to see them, where it says how."""
    config = picture_config(network) if start.data.startswith(FOLDERS) else {}
    if not config or config["input_size"][0] != 3:
        return start.data_options
    known = {"size": config["input_size"][1], "mean": list(config["mean"]), "std": list(config["std"])}
    resize = scaled_side(config, known["size"])
    if resize is not None and "size" not in start.data_options:  # it belongs to the network's own size
        known["resize"] = resize
    if config.get("interpolation") in ("bilinear", "bicubic"):
        known["interpolation"] = config["interpolation"]
    return {**known, **start.data_options}


def _fitting(start: Start, source: DataSource, network: nn.Module) -> tuple[nn.Module, Mapping[str, Any]]:
    """The network with one output a class, and the options that make it so."""
    options = dict(start.options)
    found = _classes(network, source, start.model)
    if found != source.num_classes and "num_classes" not in options and ":" in start.model:
        options["num_classes"] = source.num_classes  # timm's and torchvision's networks take it; others say so
        found = _classes(models.create(start.model, **options), source, start.model)
    if found != source.num_classes:
        raise ModelError(
            f"'{start.model}' has {found} outputs, and '{start.data}' has {source.num_classes} classes. Give the "
            f"network's option that sets them, for example --option num_classes={source.num_classes}."
        )
    model = models.create(start.model, **options)
    if start.weights is not None:
        load_weights(model, start.weights)
    return model, options


def _classes(model: nn.Module, source: DataSource, name: str) -> int:
    """Outputs of the network on an image of the data."""
    try:
        with torch.no_grad():
            scores = model.eval()(source.example_input())
    except Exception as error:
        raise ModelError(
            f"'{name}' fails on images of the shape {source.input_shape}: {error}. Give a network for such images, or "
            "other images."
        ) from error
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        raise ModelError(f"'{name}' does not give one row of scores an image; a first recipe is for classifiers.")
    return scores.shape[1]


def _scaled(graph: ChannelGraph, model: nn.Module) -> float:
    """Share of the channels that could go which pass a BatchNorm."""
    norms = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    free = {group.name: group.num_channels for group in graph.prunable}
    covered = [group for group in graph.prunable if any(axis.tensor in norms for axis in group.axes)]
    return sum(group.num_channels for group in covered) / max(sum(free.values()), 1)


def _head(start: Start, seen: _Seen) -> Iterator[str]:
    record, source = seen.record, seen.source
    free = sum(group.prunable for group in record.groups)
    yield f"# {start.model} on {start.data}, written by convslim init."
    yield f"# {record.macs:,} MACs and {record.params:,} parameters for one image of {_size(source)}."
    yield (
        f"# {free} of {len(record.groups)} channel groups can lose channels; "
        f"{share_text(record.macs_prunable, record.macs)} of the MACs depend on them. The network {WAYS[record.way]}."
    )
    yield f"# {len(source.train):,} training and {len(source.test):,} test images of {source.num_classes} classes."
    yield "# Next: convslim run THIS-FILE --dry-run says what it will take."
    yield f"name: {re.sub(r'[^A-Za-z0-9.]+', '-', start.model.rpartition('/')[2]).strip('-')}"
    yield "seed: 0"
    yield "# threads: 1   # PyTorch's threads; all, unless other work runs on the machine"
    model: dict[str, Any] = {"spec": start.model}
    if seen.options:
        model["options"] = dict(seen.options)
    if start.weights is not None:
        model["weights"] = start.weights.as_posix()
    yield from _block({"model": model})
    yield "# options: mean and std to normalize by, augmentation, holdout; see docs/your-model-and-data.md"
    data: dict[str, Any] = {"spec": start.data}
    if seen.data_options:
        data["options"] = dict(seen.data_options)
    yield from _block({"data": data})


def _size(source: DataSource) -> str:
    return "×".join(map(str, source.input_shape))


def _steps(start: Start, seen: _Seen) -> Iterator[str]:
    """Slimming where BatchNorm scales can rank the channels, else a cut by the norms of filters."""
    size, epochs = seen.batch_size, seen.epochs
    slim = seen.scaled >= COVERED
    if start.trained:
        yield "  # How good the network is before anything changes."
        yield "  - evaluate"
    else:
        yield "  # The network has fresh weights; with trained ones give weights above, and evaluate instead."
        yield from _step("train", epochs=2 * epochs, batch_size=size, lr=0.05, warmup_epochs=1)
    if slim:
        yield "  # Press on the BatchNorm scales, so that channels that matter little end small. strength: how hard."
        yield from _step("sparsify", epochs=max(2, epochs // 2), batch_size=size, lr=0.01, strength=1e-4)
    else:
        yield f"  # Only {seen.scaled:.0%} of the channels that can go pass a BatchNorm: filters rank them."
    yield "  # Remove channels until the budget is met, with a proof. round_to: widths that are fast."
    budget, criterion = dict(start.budget), "bn_scale" if slim else "l1"
    yield from _step("prune", criterion=criterion, budget=budget, round_to=16 if _wide(seen.record) else 8)
    yield "  # BatchNorm statistics of the smaller network."
    yield "  - recalibrate"
    total = epochs * max(1, len(seen.source.train) // size)
    yield f"  # Win the accuracy back: {epochs} epochs are some {total:,} steps."
    yield from _step("finetune", epochs=epochs, batch_size=size, lr=0.01, warmup_epochs=1)
    yield "  # model.onnx, checked against PyTorch; original.onnx beside it, and both timed in turn."
    yield "  - export"
    yield "  # model-int8.onnx, calibrated on training images, and how right the file is; mode: qat trains in integers."
    yield "  - quantize"
    yield "  # All three files timed in turn."
    yield "  - bench"


def _wide(record: GraphRecord) -> bool:
    """Whether multiples of 16 leave a choice of widths to half of the groups or more."""
    return median([group.channels for group in record.groups if group.prunable] or [0]) >= WIDE


def _step(kind: str, **config: Any) -> Iterator[str]:
    for line in _block([{kind: config}]):
        yield f"  {line}"


def _block(data: Any) -> list[str]:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110).rstrip().splitlines()
