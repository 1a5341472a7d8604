"""What a tool is asked, and what it may answer. An adapter is one function."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import nn

from convslim.conformance.case import Case, Example
from convslim.errors import ModelError, nearest


@dataclass(frozen=True)
class Task:
    """Remove about a share of the channels, everywhere where it can be done.

    The rest is what any user knows of the own network and may have to tell a tool.

    Attributes:
        example: An input of the network.
        share: Part of the channels that shall go. A quarter, so that a tool that must take the union of what coupled
            layers ask for is left with something.
        outputs: Layers whose channels are outputs of the network and stay.
        heads: Attention heads by layer.
        channel_dims: For raw parameters, the dimension in which channels lie; None if none do.
    """

    example: Example
    share: float = 0.25
    outputs: tuple[str, ...] = ()
    heads: Mapping[str, int] = field(default_factory=dict)
    channel_dims: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of it.

    Attributes:
        model: The smaller network, in evaluation mode; None if the tool removes nothing.
        approximate: Why what is left does not compute exactly what it did, if the tool knows: a normalization over
            channels. Empty: the tool holds its result to be exact.
        refused: Reasons why channels were left alone, by the name of a layer or parameter; ``""`` for all of them.
    """

    model: nn.Module | None
    approximate: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)

    def reason_for(self, target: str) -> str:
        """Why the channels of a layer were left alone, as far as the tool says."""
        for name in (target, f"{target}.weight", ""):
            if self.refused.get(name):
                return self.refused[name]
        return ""


class Tool(Protocol):
    """Removes channels. It may change the model that it gets; what it raises counts as a crash."""

    def __call__(self, model: nn.Module, task: Task) -> Answer: ...


def task_of(case: Case) -> Task:
    """What a tool is asked in a case."""
    return Task(case.example(1, 0), outputs=case.outputs, heads=case.heads, channel_dims=case.channel_dims)


def open_tool(spec: str) -> Tool:
    """The tool called ``convslim`` or ``torch-pruning``, or what ``module:factory`` makes.

    Raises:
        ModelError: If there is no such tool, or its package is not installed.
    """
    module, colon, name = ADAPTERS.get(spec, spec).partition(":")
    if not colon:
        raise ModelError(
            f"There is no tool {spec!r}; known are {', '.join(ADAPTERS)}, and module:factory for one of your own."
            f"{nearest(spec, ADAPTERS)}"
        )
    try:
        factory: Callable[[], Tool] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"The tool {spec!r} cannot be opened: {error}. Write module:factory.") from error
    return factory()


ADAPTERS: Mapping[str, str] = {
    "convslim": "convslim.conformance.adapters.own:factory",
    "torch-pruning": "convslim.conformance.adapters.torch_pruning:factory",
}
