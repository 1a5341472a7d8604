"""A decision on channels as data: which channels of every group stay.

A plan is immutable JSON. It can be printed, compared, replayed on other weights of the same architecture, and put
behind another one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convslim.channels.graph import ChannelGraph, ChannelGroup
from convslim.channels.labels import Vector
from convslim.channels.program.assemble import Program
from convslim.channels.program.numbers import is_number_name
from convslim.channels.slicing import attributes_of, slices_of
from convslim.errors import ArtifactError, PlanError
from convslim.files import replace_text

FORMAT = 1


@dataclass(frozen=True)
class PruningPlan:
    """Kept channels per group, and what that means for every tensor.

    Attributes:
        structure: Hash of the graph that the plan was made for.
        channels: Number of channels per group before.
        kept: Kept channel indices per group, ascending; every group of the graph is listed.
        slices: Kept positions by tensor name and dimension, for the axes that shrink.
        attributes: Numbers beside the tensors: those of layers (``groups``, ``num_features``, ``num_groups``) by dotted
            name, those of a graph by node and argument (``"split_3:split_sizes.0"``).
        program: The graph that the plan is carried out on; None for the user's class.
    """

    structure: str
    channels: Mapping[str, int]
    kept: Mapping[str, tuple[int, ...]]
    slices: Mapping[str, Mapping[int, tuple[int, ...]]]
    attributes: Mapping[str, int]
    program: Program | None = None

    @property
    def way(self) -> str:
        """``"class"`` if the plan is carried out on the user's class, ``"graph"`` on a graph of it."""
        return "class" if self.program is None else "graph"

    @property
    def removed(self) -> dict[str, int]:
        """Number of removed channels of every group that loses some."""
        counts = {name: total - len(self.kept[name]) for name, total in self.channels.items()}
        return {name: count for name, count in counts.items() if count}

    def __str__(self) -> str:
        lost = sum(self.removed.values())
        return f"{len(self.removed)} of {len(self.channels)} groups, {lost} of {sum(self.channels.values())} channels"

    def then(self, second: PruningPlan) -> PruningPlan:
        """One plan for the original model that does what this plan and, on its result, ``second`` do.

        Raises:
            PlanError: If ``second`` was made for a model that this plan does not lead to, or for a graph of the class
                that this plan leads to.
        """
        if self.program is None and second.program is not None:
            raise PlanError(
                "The first plan is carried out on the model's class, the second on a graph of the result. "
                'Trace the result with ways=("class",), or the original with ways=("graph",).'
            )
        for name, total in second.channels.items():
            if name not in self.kept or len(self.kept[name]) != total:
                left = len(self.kept[name]) if name in self.kept else "no"
                raise PlanError(
                    f"The second plan expects {total} channels in group {name!r}, but the first leaves {left}. "
                    "Make the second plan from a trace of the model that the first one gives."
                )
        kept = {name: _compose(own, second.kept.get(name)) for name, own in self.kept.items()}
        slices = {name: dict(by_dim) for name, by_dim in self.slices.items()}
        for name, by_dim in second.slices.items():
            for dim, positions in by_dim.items():
                slices.setdefault(name, {})[dim] = _compose(self.slices.get(name, {}).get(dim), positions)
        attributes = {**self.attributes, **second.attributes}
        return PruningPlan(self.structure, self.channels, kept, slices, attributes, self.program)

    def to_json(self) -> str:
        """The plan as JSON text."""
        return json.dumps(
            {
                "format": FORMAT,
                "structure": self.structure,
                "channels": dict(self.channels),
                "kept": {name: list(kept) for name, kept in self.kept.items()},
                "slices": {n: {str(dim): list(k) for dim, k in by.items()} for n, by in self.slices.items()},
                "attributes": dict(self.attributes),
                "program": None if self.program is None else self.program.to_data(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> PruningPlan:
        """Read :meth:`to_json`'s text.

        Raises:
            PlanError: If the text is not a plan, with what is wrong.
        """
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise PlanError(f"The plan has format {data['format']}, this version reads {FORMAT}.")
            plan = cls(
                structure=str(data["structure"]),
                channels={str(name): _count(count) for name, count in data["channels"].items()},
                kept={str(name): _positions(kept) for name, kept in data["kept"].items()},
                slices={
                    str(name): {_dim(dim): _positions(kept) for dim, kept in by_dim.items()}
                    for name, by_dim in data["slices"].items()
                },
                attributes={_attribute(name): _number(name, number) for name, number in data["attributes"].items()},
                program=Program.from_data(data["program"]) if data.get("program") else None,
            )
            _check_counts(plan)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ArtifactError) as error:
            raise PlanError(f"This is not a pruning plan: {type(error).__name__}: {error}.") from error
        return plan

    def save(self, path: str | Path) -> Path:
        """Write the plan to a file, atomically."""
        return replace_text(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> PruningPlan:
        """Read a plan from a file.

        Raises:
            ArtifactError: If the file cannot be read.
            PlanError: If it does not hold a plan.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"The plan {path} cannot be read: {error}.") from error
        return cls.from_json(text)


def make_plan(graph: ChannelGraph, kept: Mapping[str, Sequence[int] | Vector]) -> PruningPlan:
    """A plan from kept channel indices; groups that are not named keep all their channels.

    Args:
        graph: The traced model.
        kept: Indices by group name.

    Raises:
        PlanError: If a name is unknown, an index is out of range or double, nothing is kept, or the group is pinned.

    Example:
        >>> import torch, convslim
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 1))
        >>> plan = convslim.make_plan(convslim.trace(net, torch.zeros(1, 3, 8, 8)), {"0": range(6)})
        >>> print(plan)
        1 of 2 groups, 2 of 12 channels
    """
    chosen = {name: _checked(graph.group(name), indices) for name, indices in kept.items()}
    losing = {name: indices for name, indices in chosen.items() if len(indices) < graph.group(name).num_channels}
    slices = slices_of(graph, losing)
    return PruningPlan(
        structure=graph.structure,
        channels={group.name: group.num_channels for group in graph.groups},
        kept={group.name: chosen.get(group.name, tuple(range(group.num_channels))) for group in graph.groups},
        slices={name: {dim: tuple(k.tolist()) for dim, k in by_dim.items()} for name, by_dim in slices.items()},
        attributes=attributes_of(graph, losing),
        program=graph.program,
    )


def _checked(group: ChannelGroup, indices: Sequence[int] | Vector) -> tuple[int, ...]:
    array = np.asarray(indices)
    if not array.size:
        raise PlanError(
            f"The plan keeps no channel of group {group.name!r}; keep at least one of {group.num_channels}."
        )
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise PlanError(
            f"The plan keeps {indices!r} of group {group.name!r}; give a list of whole numbers, the kept channels' "
            "indices (of a mask: its nonzero positions)."
        )
    chosen = tuple(int(index) for index in np.unique(array))
    if len(chosen) != array.size:
        raise PlanError(f"The plan names a channel of group {group.name!r} twice; name each kept channel once.")
    if chosen[0] < 0 or chosen[-1] >= group.num_channels:
        outside = chosen[0] if chosen[0] < 0 else chosen[-1]
        raise PlanError(
            f"Group {group.name!r} has {group.num_channels} channels but the plan keeps index {outside}. "
            "Plans are tied to the model they were made for: make it again from this model's trace."
        )
    if len(chosen) < group.num_channels and not group.prunable:
        raise PlanError(f"Group {group.name!r} is pinned and cannot lose channels: {group.pins[0]}.")
    return chosen


def _compose(first: Sequence[int] | None, second: Sequence[int] | None) -> tuple[int, ...]:
    if first is None or second is None:
        return tuple((first if second is None else second) or ())
    return tuple(first[index] for index in second)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{value!r} is not a count")
    return value


def _number(name: str, value: Any) -> int:
    """Layers count from 1; a graph may also hold a position or an amount of padding that came down to 0."""
    return 0 if is_number_name(name) and value == 0 and not isinstance(value, bool) else _count(value)


def _attribute(name: str) -> str:
    if not is_number_name(name) and name.rpartition(".")[2] not in ("groups", "num_features", "num_groups"):
        raise ValueError(f"{name!r} is not a number that plans set")
    return name


def _dim(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a dimension")
    return int(text)


def _positions(values: Any) -> tuple[int, ...]:
    positions = tuple(values)
    if not positions:
        raise ValueError("one position must be kept at least")
    if any(not isinstance(value, int) or isinstance(value, bool) or value < 0 for value in positions):
        raise ValueError("positions must be whole numbers from 0")
    if any(left >= right for left, right in itertools.pairwise(positions)):
        raise ValueError("positions must ascend")
    return positions


def _check_counts(plan: PruningPlan) -> None:
    if plan.channels.keys() != plan.kept.keys():
        raise ValueError(f"channels and kept name different groups, {sorted(plan.channels.keys() ^ plan.kept.keys())}")
    for name, kept in plan.kept.items():
        if kept[-1] >= plan.channels[name]:
            raise ValueError(f"group {name!r} has {plan.channels[name]} channels but index {kept[-1]} is kept")
