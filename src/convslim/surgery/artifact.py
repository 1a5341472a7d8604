"""A pruned model on disk: tensors as safetensors, everything else as JSON, nothing pickled."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from convslim.channels.program.assemble import Program, assemble, describe, is_program
from convslim.channels.slicing import sliced_copy
from convslim.channels.tape import named_tensors
from convslim.errors import ArtifactError, ModelError
from convslim.surgery.plan import PruningPlan

FORMAT = 1
WEIGHTS, PLAN, RECORD, MANIFEST = "model.safetensors", "plan.json", "record.json", "artifact.json"
GRAPH = "graph.json"


def save(
    model: nn.Module,
    path: str | Path,
    *,
    plan: PruningPlan | None = None,
    record: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model to a folder that :func:`load` reads back.

    The folder holds ``model.safetensors``, ``artifact.json`` (format, class, the layers' numbers, checksums),
    ``graph.json`` for a model that was carried out as a graph, and, if given, ``plan.json`` and ``record.json``. It is
    written beside its place and moved there whole.

    Args:
        model: Any model, pruned or not.
        path: The folder; an artifact that is there already is replaced, anything else is refused.
        plan: How the model came from its original, for replay.
        record: Facts to keep with it, JSON values.

    Raises:
        ArtifactError: If the folder holds something else, or cannot be written.
    """
    path = Path(path)
    staging = _sibling(path)
    try:
        check_place(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
        _write(staging, model, plan, record)
        _swap(staging, path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path} cannot be written: {error}. Choose another folder or free some space.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return path


def _sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def check_place(path: Path) -> None:
    """See that :func:`save` may write to a folder; an artifact is replaced whole, so nothing else may lie there.

    Raises:
        ArtifactError: If the folder holds something else.
    """
    if not path.exists():
        return
    held = {entry.name for entry in path.iterdir()} if path.is_dir() else {path.name}
    if held and MANIFEST not in held:
        raise ArtifactError(f"{path} exists and is not a convslim artifact; choose an empty or new folder.")
    strange = sorted(held - {WEIGHTS, GRAPH, PLAN, RECORD, MANIFEST})
    if strange:
        raise ArtifactError(
            f"{path} also holds {strange[0]!r}, which would be lost with the old artifact; "
            "move it away or choose another folder."
        )


def _write(folder: Path, model: nn.Module, plan: PruningPlan | None, record: Mapping[str, Any] | None) -> None:
    tensors = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in named_tensors(model).items()
    }
    save_file(tensors, folder / WEIGHTS)
    if is_program(model):
        (folder / GRAPH).write_text(json.dumps(describe(model).to_data()), encoding="utf-8")
    if plan is not None:
        (folder / PLAN).write_text(plan.to_json(), encoding="utf-8")
    if record is not None:
        (folder / RECORD).write_text(_record_text(record), encoding="utf-8")
    manifest = {
        "format": FORMAT,
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "attributes": _attributes(model),
        "sha256": {file.name: _sha256(file) for file in sorted(folder.iterdir())},
    }
    manifest["digest"] = _digest(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    (folder / WEIGHTS).chmod((folder / MANIFEST).stat().st_mode)  # safetensors leaves it to its owner alone
    for file in folder.iterdir():
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())


def _record_text(record: Mapping[str, Any]) -> str:
    try:
        return json.dumps(record, indent=1)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"The record cannot be written as JSON: {error}. Give numbers, texts and lists.") from error


def _swap(staging: Path, path: Path) -> None:
    if not path.exists():
        os.replace(staging, path)
        return
    old = _sibling(path)
    os.replace(path, old)
    try:
        os.replace(staging, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _attributes(model: nn.Module) -> dict[str, int]:
    """The numbers that PyTorch's layers keep beside their tensors, by dotted name."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            found[f"{name}.groups".lstrip(".")] = module.groups
        elif isinstance(module, nn.modules.batchnorm._NormBase):
            found[f"{name}.num_features".lstrip(".")] = module.num_features
    return found


def _digest(manifest: Mapping[str, Any]) -> str:
    """Checksum of the manifest itself, without its own entry."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(path: str | Path, factory: Callable[[], nn.Module] | None = None) -> nn.Module:
    """Rebuild a saved model in the class that ``factory`` makes, or as the graph that was saved. Nothing is unpickled.

    ``factory`` builds the unpruned model; its tensors take the saved shapes and values. A graph needs no factory.

    Args:
        path: A folder that :func:`save` wrote.
        factory: Makes the unpruned model, any weights.

    Raises:
        ArtifactError: If files are missing, damaged, not an artifact, or a factory is needed and none is given.
        ModelError: If the factory makes another architecture.

    Example:
        >>> import tempfile, torch, convslim
        >>> factory = lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 1))
        >>> net, x = factory(), torch.randn(1, 3, 8, 8)
        >>> plan = convslim.make_plan(convslim.trace(net, x), {"0": range(5)})
        >>> small = convslim.remove(net, plan, x)
        >>> folder = tempfile.mkdtemp()
        >>> again = convslim.load(convslim.save(small, folder, plan=plan), factory)
        >>> torch.equal(again(x), small(x))
        True
    """
    path = Path(path)
    manifest = _manifest(path)
    try:
        tensors = load_file(path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path / WEIGHTS} cannot be read: {error}.") from error
    if (path / GRAPH).is_file():
        return _load_graph(path / GRAPH, tensors)
    if factory is None:
        raise ArtifactError(
            f"{path} holds a model of the class {manifest['class']}, not a graph; give load a factory that builds it "
            "unpruned."
        )
    return _load_class(path, factory(), tensors, manifest["attributes"])


def _load_graph(path: Path, tensors: Mapping[str, Tensor]) -> nn.Module:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}. Copy the whole folder again.") from error
    try:
        return assemble(Program.from_data(data), tensors)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error


def _load_class(
    path: Path, model: nn.Module, tensors: Mapping[str, Tensor], attributes: Mapping[str, int]
) -> nn.Module:
    _adopt_biases_(model, tensors)
    own = named_tensors(model)
    _check_names(own.keys() ^ tensors.keys(), "tensor", path, model)
    _check_names(attributes.keys() - _attributes(model).keys(), "attribute", path, model)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    small = sliced_copy(model, _leading(own, shapes, path), attributes)
    with torch.no_grad():
        for name, tensor in named_tensors(small).items():
            if tensor.dtype != tensors[name].dtype:
                tensor.data = tensor.data.to(tensors[name].dtype)
            tensor.copy_(tensors[name])
    return small


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ArtifactError(f"{path} has format {manifest['format']}, this version reads {FORMAT}.")
        if manifest["digest"] != _digest(manifest):
            raise ValueError("its checksum differs; copy the whole folder again")
        sums = dict(manifest["sha256"])
        attributes = {str(name): int(number) for name, number in manifest["attributes"].items()}
    except OSError as error:
        raise ArtifactError(f"{path} is not a convslim artifact: {error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ArtifactError(f"{path / MANIFEST} is damaged: {type(error).__name__}: {error}.") from error
    for name, expected in sums.items():
        file = path / Path(name).name
        if not file.is_file():
            raise ArtifactError(f"{file} is missing; copy the whole folder again.")
        if _sha256(file) != expected:
            raise ArtifactError(f"{file} is not what was saved (checksum differs); copy the whole folder again.")
    return {"attributes": attributes, "class": manifest.get("class", "")}


def _adopt_biases_(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Folding may have given a layer the bias that its factory leaves out."""
    modules = dict(model.named_modules())
    for name, tensor in tensors.items():
        owner, _, leaf = name.rpartition(".")
        if leaf == "bias" and owner in modules and getattr(modules[owner], "bias", tensor) is None:
            modules[owner].bias = nn.Parameter(torch.empty_like(tensor))


def _check_names(strange: Collection[str], kind: str, path: Path, model: nn.Module) -> None:
    if strange:
        raise ModelError(
            f"{path} does not hold a {type(model).__name__}: {len(strange)} {kind} names differ, first "
            f"{min(strange)!r}. Give the factory that the saved model came from."
        )


def _leading(own: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], path: Path) -> dict[str, Any]:
    """Slices that bring every tensor to its saved shape; which positions is irrelevant, the values are overwritten."""
    slices: dict[str, Any] = {}
    for name, tensor in own.items():
        if tensor.dim() != len(shapes[name]) or any(n > o for n, o in zip(shapes[name], tensor.shape, strict=True)):
            raise ModelError(
                f"{name!r} has shape {shapes[name]} in {path}, which is no pruned form of {tuple(tensor.shape)}. "
                "Give the factory that the saved model came from."
            )
        by_dim = {dim: np.arange(new) for dim, new in enumerate(shapes[name]) if new != tensor.shape[dim]}
        if by_dim:
            slices[name] = by_dim
    return slices
