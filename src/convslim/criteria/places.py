"""Where the feature maps of a group can be looked at: what its consumers read, behind each of its producers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convslim.channels.graph import ChannelGraph
from convslim.channels.labels import Vector
from convslim.channels.probe import Evidence
from convslim.channels.tape import OpCall, TensorRef
from convslim.channels.values import Axes, Value

_LAYOUTS = frozenset(
    {"view", "_unsafe_view", "permute", "transpose", "t", "unsqueeze", "squeeze", "clone", "alias", "detach"}
)


@dataclass(frozen=True, eq=False)
class Place:
    """A tensor of the forward pass that carries all channels of a group.

    Attributes:
        call: Number of the operation.
        position: Which of the operation's input tensors, or of its results.
        result: True for a result.
        dim: The dimension that carries the channels.
        size: Its size, whatever the batch.
        index: The channels' positions along it, ``(num_channels, multiplicity)``.
    """

    call: int
    position: int
    result: bool
    dim: int
    size: int
    index: npt.NDArray[np.int64]

    def maps(self, tensor: Tensor, num_images: int) -> Tensor:
        """The tensor as feature maps, shape ``(images, num_channels, *positions)``; a view where that can be.

        What is left of the tensor without the channels has the images first, as ``(N, H, W)`` or ``(N · tokens,)``. If
        their number does not divide the first dimension, everything counts as one image.
        """
        lines = tensor.detach().movedim(self.dim, 0)
        order = self.index.ravel()
        if len(order) != len(lines) or (order[1:] <= order[:-1]).any():
            lines = lines.index_select(0, torch.from_numpy(order).to(tensor.device))
        rest = lines.shape[1:]
        images, parts = (num_images, rest[0] // num_images) if rest and rest[0] % num_images == 0 else (1, 0)
        inner = (parts, *rest[1:]) if parts else rest
        grid = lines.reshape(*self.index.shape, images, *inner).movedim(2, 0)
        positions = (self.index.shape[1], *inner)
        # a multiplicity or a part of 1 is no dimension of the map
        return grid.reshape(images, len(self.index), *(size for size in positions[:2] if size > 1), *positions[2:])


def places(graph: ChannelGraph) -> dict[str, tuple[Place, ...]]:
    """Where to look at each prunable group, by group name; a group that is seen nowhere as a whole is left out.

    For every producer it is the first tensor made behind it that a mixing operation (convolution, matrix product)
    reads, before it is flattened or permuted for that: the map after normalization, activation, depthwise layers,
    pooling and sums. Coupled producers whose sum is read share a place; those of a residual trunk have one each. A
    group without such a reader is looked at in the last tensor that carries its channels.
    """
    assert graph.evidence is not None, "a traced graph has evidence"
    walk = _Walk(graph, graph.evidence)
    reads, produced = walk.reads(), walk.produced()
    found: dict[str, tuple[Place, ...]] = {}
    for number, group in enumerate(graph.prunable):
        firsts = [_first_behind(producer, reads.get(number, ())) for producer in produced.get(number, ())]
        seen = {id(place): place for place in firsts if place is not None}
        last = () if seen else tuple(walk.last(number))
        if seen or last:
            found[group.name] = tuple(seen.values()) or last
    return found


def _first_behind(producer: int, reads: Sequence[tuple[int, Place]]) -> Place | None:
    return next((place for maker, place in reads if maker >= producer), None)


class _Walk:
    """The labels of a recorded pass, by group and channel."""

    def __init__(self, graph: ChannelGraph, evidence: Evidence) -> None:
        self._tape, self._labeler = evidence.tape, evidence.labeler
        self._classes = self._labeler.store.resolve()
        self._sizes = [group.num_channels for group in graph.prunable]
        self._group = np.full(int(self._classes.max()) + 1, -1)
        self._channel = np.full(len(self._group), -1)
        for number, group in enumerate(graph.prunable):
            axis = group.axes[0]
            classes = self._classes[self._labeler.seeds[axis.tensor][axis.dim][axis.index[:, 0]]]
            self._group[classes] = number
            self._channel[classes] = np.arange(group.num_channels)
        self._maker = {out.id: call for call in self._tape.calls for out in call.outs}
        self._values: Mapping[int, Value] = {
            out.id: value
            for call, flow in zip(self._tape.calls, self._labeler.flows, strict=True)
            for out, value in zip(call.outs, flow, strict=True)
        }

    def reads(self) -> dict[int, list[tuple[int, Place]]]:
        """By group, every tensor that a mixing operation reads, with the number of the call that made it."""
        found: dict[int, dict[int, tuple[int, Place]]] = {}
        for call in self._tape.calls[: self._tape.compared]:
            for position, dim, labels in self._labeler.reads.get(call.index, ()):
                ref = call.inputs[position]
                if self._moves(ref):
                    read = self._at(call, position, {dim: labels})
                    before = self._at(*self._laid_out_before(call, position))
                    for group, place in read.items():
                        earlier = before.get(group, place)
                        chosen = earlier if earlier.index.size <= place.index.size else place
                        found.setdefault(group, {}).setdefault(ref.id, (self._maker[ref.id].index, chosen))
        return {group: list(by_tensor.values()) for group, by_tensor in found.items()}

    def _laid_out_before(self, call: OpCall, position: int) -> tuple[OpCall, int, Axes]:
        """Where the tensor is read before it is only laid out anew: the images may not come first any more."""
        maker = self._maker.get(call.inputs[position].id)
        while maker is not None and maker.name in _LAYOUTS and self._moves(maker.inputs[0]):
            call, position = maker, 0
            maker = self._maker.get(call.inputs[0].id)
        return call, position, self._values[call.inputs[position].id].axes

    def _at(self, call: OpCall, position: int, axes: Axes, result: bool = False) -> dict[int, Place]:
        """The groups that a tensor carries as a whole."""
        return {
            group: Place(call.index, position, result, dim, len(labels), index)
            for dim, labels in axes.items()
            for group, index in self._indices(labels)
        }

    def produced(self) -> dict[int, list[int]]:
        """By group, the calls that make its channels."""
        found: dict[int, dict[int, None]] = {}
        for mark in self._labeler.produced:
            assert mark.call is not None, "producers are marked by calls"
            for group in np.unique(self._group[self._classes[mark.labels]]):
                found.setdefault(int(group), {})[mark.call.index] = None
        return {group: list(calls) for group, calls in found.items()}

    def last(self, number: int) -> Iterator[Place]:
        """The last tensor that carries all channels of a group."""
        for call in reversed(self._tape.calls[: self._tape.compared]):
            for position, out in enumerate(call.outs):
                axes = self._values[out.id].axes if self._moves(out) else {}
                place = self._at(call, position, axes, result=True).get(number)
                if place is not None:
                    yield place
                    return

    def _moves(self, ref: TensorRef) -> bool:
        """True for tensors that depend on the network's input."""
        return ref.id in self._values and not self._values[ref.id].static

    def _indices(self, labels: Vector) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """The groups whose channels all stand along a dimension, equally often, with their positions."""
        classes = self._classes[labels]
        groups = self._group[classes]
        for number in np.unique(groups[groups >= 0]):
            held = np.flatnonzero(groups == number)
            channels = self._channel[classes[held]]
            counts = np.bincount(channels, minlength=self._sizes[number])
            if counts[0] and (counts == counts[0]).all():
                yield int(number), held[np.argsort(channels, kind="stable")].reshape(len(counts), -1)
