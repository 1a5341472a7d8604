"""The optimizer of a configuration, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from convslim.errors import ArtifactError
from convslim.train.config import TrainConfig


def build_optimizer(modules: Iterable[nn.Module], config: TrainConfig) -> torch.optim.Optimizer:
    """SGD, Adam or AdamW over the trainable parameters of some modules, in `named_parameters` order.

    Without `decay_norm_and_bias`, parameters of one dimension (normalization scales and shifts, biases) take
    no weight decay.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in (parameter for module in modules for parameter in module.parameters()):
        if parameter.requires_grad:
            plain = parameter.ndim > 1 or config.decay_norm_and_bias
            (decayed if plain else free).append(parameter)
    groups: list[dict[str, object]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.lr)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of the optimizer as `{parameter name}#{state name}` → tensor."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"{name}#{key}"] = torch.as_tensor(value)
    return tensors


def restore_optimizer_(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave.

    State shaped like its parameter gets the parameter's memory format, so that later arithmetic runs in the
    same order as in an uninterrupted training.

    Raises:
        ArtifactError: state of a parameter that the model does not have.
    """
    parameters = dict(model.named_parameters())
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("#")
        if name not in parameters:
            raise ArtifactError(
                f"The checkpoint holds optimizer state of '{name}', which the model does not "
                "have: it belongs to another model. Start in a new folder, or resume with the model it was "
                "made for."
            )
        parameter = parameters[name]
        if value.shape == parameter.shape and value.ndim:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        optimizer.state[parameter][key] = value
