"""Torch-Pruning (Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023), as its README says it is used.

It gets all that its interface can take: the layers of the outputs as ``ignored_layers``, attention heads as
``num_heads``, the channel dimension of raw parameters as ``unwrapped_parameters``, the tensors among nested outputs,
and parameters that need gradients, since it reads the graph that autograd records.
"""

from __future__ import annotations

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
    try:
        import torch_pruning
    except ImportError as error:
        raise ModelError("The tool 'torch-pruning' needs its package: pip install torch-pruning==1.6.1.") from error

    def prune(model: nn.Module, task: Task) -> Answer:
        """Build the dependency graph, score by the L1 norm, prune every group."""
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
        return Answer(model)

    return prune


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
