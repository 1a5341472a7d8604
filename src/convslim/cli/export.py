"""`convslim export`: an ONNX file from an artifact or a network."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from convslim.cli.console import say
from convslim.cli.network import artifact_factory, build, example_input, require_trust
from convslim.data import open_data
from convslim.data.open import OPENERS
from convslim.errors import ArtifactError
from convslim.export import export_onnx
from convslim.pipeline.environment import expand
from convslim.surgery.artifact import RECORD, load


def export(
    model: Annotated[str, typer.Argument(help="Folder of a pruned network or of a run, or a network by name.")],
    out_file: Annotated[Path, typer.Option("--out", help="The ONNX file.")],
    weights: Annotated[Path | None, typer.Option(help="Weights, for a network by name.")] = None,
    shape: Annotated[str | None, typer.Option("--input", help="Input shape N,C,H,W.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Option of the network: KEY=VALUE, repeatable.")
    ] = None,
    opset: Annotated[int, typer.Option(help="ONNX opset.")] = 18,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code of yours that the folder names.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What was written, as JSON on standard output.")] = False,
) -> None:
    """Write an ONNX file with dynamic batch, and compare what ONNX Runtime computes with PyTorch.

    Examples:

      convslim export runs/r56/model --out r56.onnx

      convslim export timm:resnet18 --input 1,3,224,224 --out resnet18.onnx
    """
    folder = Path(model)
    if folder.is_dir():
        network, example = from_artifact(folder, shape, trust=trust)
    else:
        network, example = build(model, option or [], weights), example_input(model, shape)
    report = export_onnx(network, example, out_file, opset=opset)
    if as_json:
        say(json.dumps({**asdict(report), "path": str(report.path)}, indent=1))
        return
    say(
        f"{report.path}: {report.bytes:,} bytes, opset {report.opset}; ONNX Runtime agrees with PyTorch to "
        f"{report.max_error:.1e} at batch {' and '.join(map(str, report.batch_sizes))}."
    )


def from_artifact(folder: Path, shape: str | None, *, trust: bool = False) -> tuple[nn.Module, Tensor]:
    """The network in the folder of an artifact or of a run, and an input of the shape given or recorded.

    Raises:
        ArtifactError: the folder does not say which network it holds, or is damaged.
    """
    network, record, folder = network_of(folder, trust=trust)
    return network, _artifact_input(record, shape, folder, trust)


def network_of(folder: Path, *, trust: bool = False) -> tuple[nn.Module, Any, Path]:
    """The network in the folder of an artifact or of a run, its record, and the artifact's own folder.

    Raises:
        ArtifactError: the folder does not say which network it holds, or is damaged.
    """
    if (folder / "model").is_dir() or not (folder / RECORD).exists():
        folder = folder / "model"
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{folder} is no artifact that names its network: {error}. Give the folder `model` of a run, or "
            "one that `convslim prune` made."
        ) from error
    return load(folder, artifact_factory(record, folder, trust=trust)).eval(), record, folder


def _artifact_input(record: Any, shape: str | None, folder: Path, trust: bool) -> Tensor:
    """An example input: of the shape given, noted in the record, or of the run's data."""
    if shape is not None:
        return example_input("", shape)
    if "input" in record:
        return torch.randn(record["input"], generator=torch.Generator().manual_seed(0))
    data = record["recipe"]["data"]
    if str(data["spec"]).partition(":")[0] not in OPENERS:
        require_trust(str(data["spec"]), folder, trust)
    return open_data(expand(data["spec"], "data.spec"), **data["options"]).example_input()
