"""What is known of a network's channels, as plain data: enough to rebuild table and page without the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

State = Literal["prunable", "approximate", "pinned"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlaceRecord(_Record):
    """A reason, and the place in the user's code that it comes from, see :class:`~convslim.channels.Pin`."""

    reason: str
    operation: str = ""
    module: str = ""
    source: str = ""


class AxisRecord(_Record):
    """One axis of one tensor that carries a group; every channel stands at ``multiplicity`` positions of it."""

    tensor: str
    dim: int
    role: Literal["out", "in", "scale"]
    multiplicity: int


class GroupRecord(_Record):
    """One channel group.

    Attributes:
        macs: MACs of one sample that go if the whole group goes: those of all slices that make or read it. A slice is
            read by one group and made by another, so that these numbers do not add up to the network's.
        params: Parameters that go likewise.
    """

    name: str
    channels: int
    prunable: bool
    exact: bool
    macs: int
    params: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    pins: tuple[PlaceRecord, ...] = ()
    approximations: tuple[PlaceRecord, ...] = ()
    axes: tuple[AxisRecord, ...] = ()

    @property
    def state(self) -> State:
        """Pinned; or prunable, exactly or only approximately."""
        if not self.prunable:
            return "pinned"
        return "prunable" if self.exact else "approximate"


class LayerRecord(_Record):
    """MACs of one sample and parameters of one layer."""

    module: str
    operation: str
    macs: int
    params: int


class GraphRecord(_Record):
    """A whole channel graph.

    Attributes:
        model: The network's name.
        structure: The fingerprint that plans for this network carry.
        way: How a plan is carried out: in the model's own ``"class"``, or on a ``"graph"`` of it.
        way_reason: Why, as the end of a sentence.
        macs: MACs of one sample.
        macs_prunable: Those that would go with all prunable channels.
        unused: Parameters that the example input does not reach.
    """

    format: int = 1
    model: str
    structure: str
    way: Literal["class", "graph"]
    way_reason: str
    macs: int
    macs_prunable: int
    params: int
    groups: tuple[GroupRecord, ...]
    layers: tuple[LayerRecord, ...]
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def links(self) -> Iterator[tuple[int, int]]:
        """Pairs of group numbers (a, b), a ≠ b: layers that read group a make group b."""
        made_by: dict[str, list[int]] = {}
        for number, group in enumerate(self.groups):
            for module in group.producers:
                made_by.setdefault(module, []).append(number)
        for number, group in enumerate(self.groups):
            made = {other for module in group.consumers for other in made_by.get(module, ())}
            yield from ((number, other) for other in sorted(made - {number}))

    def channels(self, *states: State) -> int:
        """Channels of the groups in these states; of all without an argument."""
        return sum(group.channels for group in self.groups if not states or group.state in states)
