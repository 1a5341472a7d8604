"""Torch-Pruning (Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023), as its README says it is used.

It gets all that its interface can take: the layers of the outputs as ``ignored_layers``, attention heads as
``num_heads``, the channel dimension of raw parameters as ``unwrapped_parameters``, the tensors among nested outputs,
and parameters that need gradients, since it reads the graph that autograd records. Of raw parameters it can be told one
dimension only, which may be the wrong one; so it gets a second chance without.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convslim.conformance.case import Example, call
from convslim.conformance.tool import Answer, Task, Tool
from convslim.errors import ModelError


def factory() -> Tool:
    """The adapter.

    Raises:
        ModelError: If Torch-Pruning is not installed.
    """
    if importlib.util.find_spec("torch_pruning") is None:
        raise ModelError("The tool 'torch-pruning' needs its package: pip install torch-pruning==1.6.1.")
    return prune


def prune(model: nn.Module, task: Task) -> Answer:
    """Prune; if nothing that runs comes of the given dimensions of raw parameters, take the tool's own guess."""
    guessing = dataclasses.replace(task, channel_dims={})
    if task.channel_dims and not _works(copy.deepcopy(model), task) and _works(copy.deepcopy(model), guessing):
        task = guessing
    return Answer(_cut(model, task))


def _works(model: nn.Module, task: Task) -> bool:
    try:
        call(_cut(model, task), task.example)
    except Exception:
        return False
    return True


def _cut(model: nn.Module, task: Task) -> nn.Module:
    """Build the dependency graph, score by the L1 norm, prune every group."""
    import torch_pruning

    model.requires_grad_(True)
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = torch_pruning.pruner.BasePruner(
            model,
            task.example,
            torch_pruning.importance.GroupMagnitudeImportance(p=1),
            pruning_ratio=task.share,
            **_hints(model, task),
        )
        for group in pruner.step(interactive=True):
            group.prune()
    return model


def _hints(model: nn.Module, task: Task) -> dict[str, Any]:
    """The options that a user would give."""
    parameters = dict(model.named_parameters())
    without_channels = [name for name, dim in task.channel_dims.items() if dim is None]
    return {
        "ignored_layers": [model.get_submodule(name) for name in task.outputs]
        + [parameters[name] for name in without_channels],
        "num_heads": {model.get_submodule(name): heads for name, heads in task.heads.items()},
        "unwrapped_parameters": [(parameters[name], dim) for name, dim in task.channel_dims.items() if dim is not None],
        "in_channel_groups": {},
        "out_channel_groups": {},
        "forward_fn": _forward,
        "output_transform": _outputs,
    }


def _forward(model: nn.Module, example: Example) -> Any:
    return call(model, example)


def _outputs(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.grad_fn is not None]
