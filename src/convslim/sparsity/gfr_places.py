"""Where relation modules stand in a network: behind the BatchNorms of prunable channels, before the activation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from convslim.channels.graph import ChannelGraph
from convslim.channels.program.assemble import is_program
from convslim.errors import ArtifactError, ModelError
from convslim.sparsity.scales import norms_of_prunable_channels


@dataclass(frozen=True)
class Place:
    """One relation module.

    Attributes:
        norm: Name of the BatchNorm.
        host: Name of the module that carries it: the BatchNorm, or the activation inside of one.
        before: True if it works on what the host reads, False if on what the host gives.
    """

    norm: str
    host: str
    before: bool = False


@dataclass(frozen=True)
class Relations:
    """All relation modules of a network; with it they can be put into a fresh one.

    Attributes:
        places: Where they stand.
        reduction: As for :class:`~convslim.sparsity.gfr.GlobalFeatureRelation`.
    """

    places: tuple[Place, ...]
    reduction: int = 16

    def to_data(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Any) -> Relations:
        """Read :meth:`to_data`'s values.

        Raises:
            ArtifactError: They are something else.
        """
        try:
            places = tuple(Place(str(p["norm"]), str(p["host"]), bool(p["before"])) for p in data["places"])
            return cls(places, int(data["reduction"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"This does not say where relation modules stand: {type(error).__name__}: {error}. "
                "Copy the run's folder again."
            ) from error


def find_places(model: nn.Module, graph: ChannelGraph) -> tuple[tuple[Place, ...], dict[str, str]]:
    """The BatchNorms of prunable channels, found by the channels that their scales carry.

    Where a BatchNorm's own code goes on with an activation, the module stands before that.

    Returns:
        The places, and the BatchNorms that have none, with the reason.

    Raises:
        ModelError: There is no place, or the model is a graph, whose layers are not called as modules.
    """
    if is_program(model):
        raise ModelError(
            "This network was cut as a graph, and relation modules need layers that are called. "
            "Put them in before that cut, or cut with ways: [class]."
        )
    modules = dict(model.named_modules())
    owners = Counter(id(held) for module in modules.values() for held in module.parameters(recurse=False))
    places: list[Place] = []
    left: dict[str, str] = {}
    norms = norms_of_prunable_channels(graph, model)
    for name in sorted(norms, key=list(modules).index):
        shared = any(owners[id(held)] > 1 for held in modules[name].parameters(recurse=False))
        found = "other layers share its parameters" if shared else _place(name, modules[name], graph)
        if isinstance(found, Place):
            places.append(found)
        else:
            left[name] = found
    if not places:
        raise ModelError(
            f"{type(model).__name__} has no place for a relation module: {len(graph.prunable)} prunable groups, "
            f"{len(left)} BatchNorms of theirs. Leave gfr out and prune by 'l1' or 'fpgm'."
        )
    return tuple(places), left


def _place(name: str, norm: nn.Module, graph: ChannelGraph) -> Place | str:
    """The place at a BatchNorm, or why there is none."""
    if type(norm).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward):
        return Place(name, name)
    readers = _readers_inside(name, graph)
    if not readers:
        return Place(name, name)
    if len(readers) == 1 and readers[0] != name:
        return Place(name, readers[0], before=True)
    return f"the code of {type(norm).__name__} goes on with the normalized values"


def _readers_inside(name: str, graph: ChannelGraph) -> Sequence[str]:
    """Modules inside a BatchNorm of a class of its own that read the normalized values."""
    assert graph.evidence is not None, "a traced graph has evidence"
    calls = graph.evidence.tape.calls
    made = {call.outs[0].id for call in calls if call.module == name and "batch_norm" in call.name}
    readers = [call.module for call in calls if any(ref.id in made for ref in call.inputs)]
    return sorted({module for module in readers if module == name or module.startswith(f"{name}.")})
