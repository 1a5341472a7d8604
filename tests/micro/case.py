"""What a micro-network is: a row with a name, a factory, an input and an expectation."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Example = Tensor | tuple[Any, ...] | dict[str, Any]


class Micro(nn.Module):
    """Named parts and the function that runs them: `run(net, *inputs)`."""

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
    """One micro-network and what the channel engine must make of it.

    `prunes` lists *all* prunable groups: (producers separated by spaces, number of channels that can be
    chosen independently). `pinned` maps a producer to a pattern that the reason of its pin must match.
    `masked` says how the test computes the reference: by zeroing what reads the removed channels
    ("consumers"), or all that belongs to them ("all") where channels meet in a product of feature maps.
    """

    name: str
    build: Callable[[], nn.Module]
    prunes: tuple[tuple[str, int], ...] = ()
    pinned: Mapping[str, str] = field(default_factory=dict)
    example: Callable[[int, int], Example] = field(default_factory=image)
    masked: str = "consumers"


def conv_norm(inputs: int, outputs: int, kernel: int = 3, **options: Any) -> nn.Sequential:
    """Convolution without bias, keeping the size by default, and BatchNorm; parts `conv` and `norm`."""
    options.setdefault("padding", kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, bias=False, **options)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs)))


def up_norm(inputs: int, outputs: int, **options: Any) -> nn.Sequential:
    """Transposed convolution that doubles the size, and BatchNorm; parts `conv` and `norm`."""
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


def fresh(case: Case) -> nn.Module:
    """The network of a case with fixed weights, in evaluation mode; global random state untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = case.build()
        randomize_(model)
    return model.eval()


def call(model: nn.Module, example: Example) -> Any:
    """Run a model on a tensor, a tuple of arguments or a dict of keyword arguments."""
    if isinstance(example, dict):
        return model(**example)
    return model(*example) if isinstance(example, tuple) else model(example)
