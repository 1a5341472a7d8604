"""What a case is: one small network around one idea, and the layer at which it gets difficult."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Example = Tensor | tuple[Any, ...] | dict[str, Any]


class Micro(nn.Module):
    """Named parts and the function that runs them: ``run(net, *inputs)``. Tensors become buffers."""

    def __init__(self, run: Callable[..., Any], /, **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


def image(channels: int = 3, *size: int) -> Callable[[int, int], Tensor]:
    """Random images, (batch, channels, 8, 8) unless another size is given."""

    def draw(batch: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, channels, *(size or (8, 8)), generator=generator)

    return draw


@dataclass(frozen=True)
class Case:
    """One network, and the channels of it that a tool is asked to remove.

    Attributes:
        name: Unique, a Python identifier.
        hard: What makes it difficult, in one line.
        target: The layer, or raw parameter, whose output channels are the point. A tool that leaves them whole has
            not solved the case, however much it removes elsewhere.
        build: Makes the network.
        example: ``(batch, seed)`` to an input: a tensor, a tuple of positional or a dict of keyword arguments.
        outputs: Layers whose channels are outputs of the network and so must stay. Every user knows them, so tools
            are told.
        heads: Attention heads by layer, where the code splits a layer's channels into heads.
        channel_dims: For raw parameters, the dimension in which channels lie, of two the outputs; None if none do.
    """

    name: str
    hard: str
    target: str
    build: Callable[[], nn.Module]
    example: Callable[[int, int], Example] = field(default_factory=image)
    outputs: tuple[str, ...] = ("head",)
    heads: Mapping[str, int] = field(default_factory=dict)
    channel_dims: Mapping[str, int | None] = field(default_factory=dict)


def conv_norm(inputs: int, outputs: int, kernel: int = 3, **options: Any) -> nn.Sequential:
    """Convolution without bias, keeping the size by default, and BatchNorm; parts ``conv`` and ``norm``."""
    options.setdefault("padding", kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, bias=False, **options)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs)))


def up_norm(inputs: int, outputs: int, **options: Any) -> nn.Sequential:
    """Transposed convolution that doubles the size, and BatchNorm; parts ``conv`` and ``norm``."""
    conv = nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False, **options)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs)))


def head(inputs: int, outputs: int = 4) -> nn.Conv2d:
    """The last layer: its outputs are the network's, so they stay."""
    return nn.Conv2d(inputs, outputs, 1)


def parameter(*shape: int) -> nn.Parameter:
    """A normally distributed parameter."""
    return nn.Parameter(0.5 * torch.randn(*shape))


def randomize_(model: nn.Module) -> None:
    """Give all normalization layers statistics and coefficients of their own, or equality means nothing."""
    for module in model.modules():
        for name in ("running_mean", "running_var"):
            value = getattr(module, name, None)
            if isinstance(value, Tensor):
                torch.nn.init.normal_(value, 0.0, 0.5) if name == "running_mean" else value.uniform_(0.5, 1.5)
        if "Norm" in type(module).__name__ and isinstance(getattr(module, "weight", None), nn.Parameter):
            nn.init.uniform_(module.weight, 0.5, 1.5)  # type: ignore[arg-type]
            if getattr(module, "bias", None) is not None:
                nn.init.normal_(module.bias, 0.0, 0.5)  # type: ignore[arg-type]


def make_distinct_(model: nn.Module) -> None:
    """Nudge parameters until no two values of one tensor are equal, so that every kept value tells its origin."""
    with torch.no_grad():
        for tensor in model.parameters():
            while tensor.unique().numel() < tensor.numel():
                tensor.add_(0.05 * torch.randn_like(tensor))


def fresh(case: Case) -> nn.Module:
    """The network of a case with fixed weights, in evaluation mode; global random state untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = case.build()
        randomize_(model)
        make_distinct_(model)
    return model.eval()


def call(model: nn.Module, example: Example) -> Any:
    """Run a model on a tensor, a tuple of arguments or a dict of keyword arguments."""
    if isinstance(example, dict):
        return model(**example)
    return model(*example) if isinstance(example, tuple) else model(example)
