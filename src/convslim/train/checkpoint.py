"""The state of a training after an epoch, as one safetensors file that is replaced atomically.

Tensors carry structured names: `model/…`, `average/…` and `model-optimizer/{parameter}#{state}`; the adapters of
a guidance likewise. The position (finished epochs, history, configuration) is JSON in the file's own header, so that
tensors and position can never disagree. Random-number states need no place: data order, augmentation and dropout are
seeded anew from `(seed, epoch)` when an epoch starts. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from convslim.errors import ArtifactError
from convslim.files import replace_file

HEADER = "convslim_training"


@dataclass(frozen=True)
class Position:
    """Where a training stands: finished epochs, metrics of each, and the configuration it runs under.

    `ended` is true if an observer has ended the training before its last epoch, `penalty` the state of a penalty whose
    strength changes.
    """

    epochs_done: int
    history: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]
    average_steps: int = 0
    ended: bool = False
    penalty: Mapping[str, float] = field(default_factory=dict)


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], position: Position) -> None:
    """Write tensors and position into one file, atomically.

    Raises:
        ArtifactError: the file cannot be written.
    """
    header = {HEADER: json.dumps(position.__dict__)}
    flat = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = serialize(flat, metadata=header)
    replace_file(path, lambda temporary: temporary.write_bytes(content))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], Position]:
    """Read what `save_checkpoint` wrote.

    Raises:
        ArtifactError: the file is missing, truncated or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            header = (handle.metadata() or {}).get(HEADER)
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"Cannot read the training checkpoint {path}: {error}. It is missing, truncated or no "
            "safetensors file; delete it to start this training anew."
        ) from error
    if header is None:
        raise ArtifactError(
            f"{path} is a safetensors file, but no training checkpoint of convslim: its header lacks "
            f"'{HEADER}'. Give the folder of a training."
        )
    fields = json.loads(header)
    return tensors, Position(**{**fields, "history": tuple(fields["history"])})


def state_tensors(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a module as `{prefix}/{name}`."""
    return {f"{prefix}/{name}": tensor for name, tensor in module.state_dict().items()}


def select(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under `{prefix}/`, without the prefix."""
    return {
        name.removeprefix(f"{prefix}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")
    }
