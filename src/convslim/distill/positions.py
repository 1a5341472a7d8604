"""Where two networks are compared: at the end of every stage of equal resolution."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convslim.channels.tape import ExampleInput, as_arguments
from convslim.channels.undisturbed import undisturbed
from convslim.errors import ModelError, nearest


@dataclass(frozen=True)
class Position:
    """A module whose output is compared: its name, the map's channels, and height and width."""

    name: str
    channels: int
    size: tuple[int, int]


def stage_ends(model: nn.Module, example_input: ExampleInput) -> tuple[Position, ...]:
    """The last feature map before every change of resolution, and the last one before the head.

    Found by running the model once: modules that return a map (N, C, H, W) of more than one position are put in the
    order in which they finish, and cut where height or width changes. Of each part the module that finishes last
    among the least nested ones is its end: a stage, not a layer inside the next stage's first block. Where a
    resolution comes back, as in decoders, its last part counts.

    Raises:
        ModelError: If the model calls no modules that return feature maps, as one that was cut as a graph.

    Example:
        >>> import torch, convslim
        >>> ends = stage_ends(convslim.models.create("resnet20_cifar"), torch.zeros(1, 3, 32, 32))
        >>> [(end.name, end.channels, end.size) for end in ends]
        [('layer1', 16, (32, 32)), ('layer2', 32, (16, 16)), ('layer3', 64, (8, 8))]
    """
    found = [position for position in _maps(model, example_input) if position.size != (1, 1)]
    if not found:
        raise ModelError(
            f"{type(model).__name__} calls no module that returns a feature map, so there is nothing to compare with a "
            "teacher's. Networks that were cut as a graph are such: cut with ways: [class], or distill by the kinds "
            "logits and dkd."
        )
    parts: list[list[Position]] = []
    for position in found:
        if not parts or parts[-1][-1].size != position.size:
            parts.append([])
        parts[-1].append(position)
    ends = {}
    for part in parts:
        least = min(position.name.count(".") for position in part)
        ends[part[0].size] = [position for position in part if position.name.count(".") == least][-1]
    return tuple(ends.values())


def named_positions(model: nn.Module, example_input: ExampleInput, names: Sequence[str]) -> tuple[Position, ...]:
    """The positions of these modules.

    Raises:
        ModelError: If a name is no module that returns a feature map.
    """
    known = {position.name: position for position in _maps(model, example_input)}
    for name in names:
        if name not in known:
            raise ModelError(
                f"{type(model).__name__} has no module {name!r} that returns a feature map (N, C, H, W)."
                f"{nearest(name, known)}"
            )
    return tuple(known[name] for name in names)


def paired(student: Sequence[Position], teacher: Sequence[Position]) -> list[tuple[Position, Position]]:
    """Positions of equal size; if no sizes are equal, the last ones of both, backwards."""
    by_size = {position.size: position for position in teacher}
    pairs = [(position, by_size[position.size]) for position in student if position.size in by_size]
    if pairs:
        return pairs
    return list(zip(student[::-1], teacher[::-1], strict=False))[::-1]


def _maps(model: nn.Module, example_input: ExampleInput) -> list[Position]:
    """Every module that returns a feature map, in the order in which they finish."""
    found: dict[str, Position] = {}

    def see(name: str, output: Tensor) -> None:
        if output.dim() == 4 and output.is_floating_point():
            found.pop(name, None)
            found[name] = Position(name, output.shape[1], (output.shape[2], output.shape[3]))

    args, kwargs = as_arguments(example_input)
    names = [name for name, _ in model.named_modules() if name]
    with undisturbed(model), outputs_seen(model, names, see):
        model(*args, **kwargs)
    return list(found.values())


@contextmanager
def outputs_seen(model: nn.Module, names: Iterable[str], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Show every tensor that these modules return while this lasts; afterwards no hook is left."""

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def show(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                see(name, output)

        return show

    handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
