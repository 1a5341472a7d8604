"""Reading weights that others saved, without ever unpickling code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from convslim.errors import ArtifactError, ModelError

_CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "ema", "model_ema")
_PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "backbone.")


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint gave to a model.

    Attributes:
        path: The file.
        num_tensors: Tensors that were loaded.
        prefix: What was cut off the front of every name, for example ``"module."``.
        missing: Tensors of the model that the file does not hold (counters of BatchNorm are not counted).
        unexpected: Tensors of the file that the model does not have.
    """

    path: Path
    num_tensors: int
    prefix: str
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def load_weights(model: nn.Module, path: str | Path, *, strict: bool = True) -> LoadReport:
    """Load a ``.safetensors``, ``.pt``, ``.pth`` or ``.th`` file into a model, in place.

    Pickled files are read with PyTorch's ``weights_only`` unpickler, which refuses everything but tensors and plain
    containers. A container (``{"state_dict": ...}``) is opened, and a common prefix (``module.``) is cut off.

    Args:
        model: Receives the weights.
        path: The file.
        strict: Refuse missing and unexpected tensors; otherwise they are only reported.

    Raises:
        ArtifactError: If the file is missing, truncated, or holds pickled code.
        ModelError: If shapes differ, names do and ``strict`` is set, or no name fits at all.
    """
    path = Path(path)
    tensors, prefix = _strip_prefix(_tensors_of(_read(path), path), model)
    own = model.state_dict()
    wrong = [name for name in tensors if name in own and own[name].shape != tensors[name].shape]
    if wrong:
        name = wrong[0]
        raise ModelError(
            f"{len(wrong)} tensors of {path} have other shapes than {type(model).__name__}'s; first {name!r}: "
            f"{tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}. Is it the same architecture?"
        )
    missing = tuple(name for name in own if name not in tensors and not name.endswith("num_batches_tracked"))
    unexpected = tuple(name for name in tensors if name not in own)
    if len(unexpected) == len(tensors):
        raise ModelError(
            f"No tensor of {path} has a name that {type(model).__name__} knows: the file begins with "
            f"{unexpected[0]!r}, the model with {next(iter(own), None)!r}. Is it the same architecture?"
        )
    if strict and (missing or unexpected):
        raise ModelError(
            f"{path} does not fit {type(model).__name__}: {_some('missing', missing)}{_some('unexpected', unexpected)}"
            "use strict=False to load what fits."
        )
    model.load_state_dict({name: tensor for name, tensor in tensors.items() if name in own}, strict=False)
    return LoadReport(path, len(tensors) - len(unexpected), prefix, missing, unexpected)


def _some(what: str, names: tuple[str, ...]) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {what} ({shown}); "


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ArtifactError(f"There is no checkpoint at {path}. Check the path; weights are not downloaded.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ArtifactError(f"{path} is not a whole safetensors file ({error}). Fetch it again.") from error
    except pickle.UnpicklingError as error:
        raise ArtifactError(
            f"{path} holds pickled Python objects or is damaged, and is refused: only tensors and plain containers are "
            "read. Save the model's state_dict() with torch.save or as .safetensors where the file was made."
        ) from error
    except Exception as error:  # what the unpickler raises on damaged bytes has no common parent
        raise ArtifactError(f"{path} cannot be read ({type(error).__name__}: {error}). Is the file whole?") from error


def _tensors_of(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = {str(n): t for n, t in content.items() if isinstance(t, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise ArtifactError(f"{path} holds no tensors by name; a state_dict is expected.")
    return tensors


def _strip_prefix(tensors: dict[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], str]:
    """Cut known prefixes off as long as every name has one and more names fit the model without it."""
    own = model.state_dict().keys()
    cut = ""
    while True:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            return tensors, cut
        shorter = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
        if len(own & shorter.keys()) < len(own & tensors.keys()):
            return tensors, cut
        tensors, cut = shorter, cut + prefix
