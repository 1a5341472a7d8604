"""From the words of the command line to a network and an example input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import typer
from torch import Tensor, nn

from convslim import models
from convslim.errors import ArtifactError, ConvslimError, ModelError
from convslim.pipeline.source_lines import read_value
from convslim.sparsity import Relations, insert_relations_
from convslim.surgery.weights import load_weights

IMAGENET = (1, 3, 224, 224)


def build(spec: str, options: list[str], weights: Path | None = None) -> nn.Module:
    """A network by name, with `KEY=VALUE` options and a file of weights.

    Raises:
        ModelError: the network is not known or cannot be built.
        ArtifactError: the weights cannot be read.
    """
    torch.manual_seed(0)
    model = models.create(spec, **parse_options(options))
    if weights is not None:
        load_weights(model, weights)
    return model.eval()


def parse_options(options: list[str]) -> dict[str, Any]:
    """`KEY=VALUE` texts as a dict; values are read as YAML.

    >>> parse_options(["num_classes=100"])
    {'num_classes': 100}
    """
    found = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{option}': write KEY=VALUE, for example num_classes=100.")
        found[key] = read_value(value, f"--option {option}")
    return found


def example_input(spec: str, shape: str | None) -> Tensor:
    """Random images of the shape that was given (`1,3,32,32`), or that the network is known for.

    Raises:
        ModelError: no shape was given, and the network's is not known.
    """
    if shape is None:
        size = _usual(spec)
    else:
        try:
            size = tuple(int(number) for number in shape.split(","))
        except ValueError as error:
            raise typer.BadParameter(f"--input {shape}: write N,C,H,W, for example 1,3,32,32.") from error
        if not size or min(size) < 1:
            raise typer.BadParameter(f"--input {shape}: every size must be at least 1.")
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


def _usual(spec: str) -> tuple[int, ...]:
    if spec in models.SHAPES:
        return (1, *models.SHAPES[spec])
    if spec.startswith(("timm:", "torchvision:")):
        return IMAGENET
    raise ModelError(f"The image size of '{spec}' is not known; give it, for example --input 1,3,32,32.")


def artifact_factory(record: Any, folder: Path, *, trust: bool = False) -> Callable[[], nn.Module]:
    """Builds the unpruned network that an artifact's record names.

    Args:
        trust: Run code that the record names. A folder may come from anybody, and so may the code beside it.

    Raises:
        ArtifactError: the record names none, or code without being trusted.
    """
    try:
        found = record["recipe"]["model"] if "recipe" in record else record["model"]
        spec, options = str(found["spec"]), dict(found.get("options") or {})
        relations = _relations(record.get("steps", ()))
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{folder}/record.json does not say which network this is. Load the artifact in Python with "
            "convslim.load(folder, factory) and export from there."
        ) from error

    if ":" in spec and not spec.startswith(("timm:", "torchvision:")):
        require_trust(spec, folder, trust)

    def factory() -> nn.Module:
        try:
            model = models.create(spec, **options)
            return model if relations is None else insert_relations_(model, relations)
        except ConvslimError as error:
            raise ArtifactError(f"{folder} was made from '{spec}', which cannot be built: {error}") from error

    return factory


def require_trust(spec: str, folder: Path, trust: bool) -> None:
    """Refuse to run code that a folder names and the user did not.

    Raises:
        ArtifactError: it is not trusted.
    """
    if not trust:
        raise ArtifactError(
            f"{folder} names the code '{spec}', and a folder does not get to run code by itself. If you trust the "
            "folder and this code, add --trust."
        )


def _relations(steps: Iterable[Mapping[str, Any]]) -> Relations | None:
    """The relation modules that a run's network has in the end."""
    found = None
    for step in steps:
        told = step["details"].get("gfr", {})
        if "places" in told:
            found = Relations.from_data(told)
        elif told.get("folded"):
            found = None
    return found
