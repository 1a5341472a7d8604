"""The original and the smaller network, side by side at the same layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from convslim.channels.graph import ChannelGraph
from convslim.channels.probe import kept_labels
from convslim.channels.tape import ExampleInput, Tape, TensorRef, as_arguments
from convslim.channels.trace import trace
from convslim.channels.values import Value
from convslim.errors import DataError, ModelError
from convslim.surgery.plan import PruningPlan
from convslim.surgery.reconstruction.footprint import MEMORY, footprint, num_fitting
from convslim.surgery.reconstruction.replay import Replay, replays
from convslim.surgery.reconstruction.sites import Layers, Site

Batches = Iterable[ExampleInput]


def listed(batches: Batches) -> list[ExampleInput]:
    """The batches in a list, at least one.

    Raises:
        DataError: If there is none.
    """
    found = list(batches)
    if not found:
        raise DataError("There is no calibration batch; give a few hundred images, for example [images[:100], ...].")
    return found


def num_images(batch: ExampleInput) -> int:
    """Size of the first dimension of the first tensor."""
    leaves = [leaf for leaf in tree_flatten(as_arguments(batch))[0] if isinstance(leaf, Tensor)]
    return len(leaves[0])


def graph_for(model: nn.Module, graph: ChannelGraph, running: Replay, batch: ExampleInput) -> ChannelGraph:
    """The graph if its recorded pass ran the operations of the replay, else one traced on the batch.

    Raises:
        ModelError: If the model has other channel groups on the batch.
    """
    if _same(graph, running):
        return graph
    fresh = trace(model, batch)
    if fresh.structure != graph.structure or not _same(fresh, running):
        raise ModelError(
            f"{type(model).__name__} couples its channels otherwise on the calibration batches than in its graph. "
            "Trace it with an example input like them."
        )
    return fresh


def _same(graph: ChannelGraph, running: Replay) -> bool:
    evidence = graph.evidence
    return evidence is not None and [c.func for c in evidence.tape.calls] == [c.func for c in running.calls]


class Flow:
    """Which channels the tensors of a replay carry.

    Args:
        graph: Of the network that runs.
        running: Its replay, whose operations are those of the graph's evidence.
    """

    def __init__(self, graph: ChannelGraph, running: Replay) -> None:
        assert graph.evidence is not None, "a traced graph has evidence"
        self.labeler = graph.evidence.labeler
        self._values = {
            out.id: value
            for call, values in zip(running.calls, self.labeler.flows, strict=True)
            for out, value in zip(call.outs, values, strict=True)
        }

    def value(self, ref: TensorRef) -> Value:
        """Labels of a tensor by dimension."""
        return self._values.get(ref.id, Value())

    def kept(self, tensor: Tensor, ref: TensorRef, stays: npt.NDArray[np.bool_]) -> Tensor:
        """A tensor of the original with only the channels whose labels stay."""
        for dim, labels in self.value(ref).axes.items():
            if not stays[labels].all():
                index = torch.from_numpy(np.flatnonzero(stays[labels])).to(tensor.device)
                tensor = tensor.index_select(dim, index)
        return tensor


@dataclass(frozen=True, eq=False)
class Seen:
    """A layer of both networks on one batch.

    Attributes:
        first, num_images: Number of the batch's first image, and how many there are.
        features: What the smaller network's layer reads.
        target: What the original's layer gives, kept channels only.
        lag: What is added behind the layer: original, kept channels only, minus smaller network; or None.
    """

    first: int
    num_images: int
    features: Tensor
    target: Tensor
    lag: Tensor | None


class Pair:
    """Both networks, advanced in step over the batches that are under way.

    The first layers' feature maps are the largest, and their weights the fewest. So a few batches begin, as many as
    memory takes, and others follow when the maps are smaller: they run through the layers that are done already.

    Args:
        model: The original.
        small: Without the channels that the plan removes.
        plan: Leads from one to the other.
        batches: Calibration inputs.
        graph: The original's.
        memory: Bytes of activations, over all batches under way.

    Attributes:
        num_images: Of all batches.

    Raises:
        ModelError: If the two do not run the same layers.
    """

    def __init__(
        self,
        model: nn.Module,
        small: nn.Module,
        plan: PruningPlan,
        batches: Sequence[ExampleInput],
        graph: ChannelGraph,
        memory: int = MEMORY,
    ) -> None:
        self._originals, self._smalls = replays(model, batches), replays(small, batches)
        sizes = [num_images(batch) for batch in batches]
        self.num_images = sum(sizes)
        self._spans = list(zip(np.cumsum([0, *sizes[:-1]]).tolist(), sizes, strict=True))
        self._memory, self._under_way = memory, 0
        graph = graph_for(model, graph, self._originals[0], batches[0])
        self._flow = Flow(graph, self._originals[0])
        self._stays = kept_labels(graph, self._flow.labeler, plan.kept)
        self.layers = Layers(self._smalls[0].tape)
        originals = Layers(self._originals[0].tape).sites
        if [site.weight for site in originals] != [site.weight for site in self.layers.sites]:
            raise ModelError(
                f"The smaller {type(small).__name__} runs other layers than the original, so they cannot be compared "
                "layer by layer."
            )
        self._original_of = {site.index: own for site, own in zip(self.layers.sites, originals, strict=True)}
        tapes = {id(replay.tape): replay.tape for replay in (*self._originals, *self._smalls)}
        footprints = {key: footprint(tape) for key, tape in tapes.items()}
        self._footprints = [
            (footprints[id(original.tape)], footprints[id(small.tape)])
            for original, small in zip(self._originals, self._smalls, strict=True)
        ]

    def admit(self, site: Site) -> None:
        """Let batches begin, as many as memory takes from this layer on; only when no layer's filters are open."""
        own = self._original_of[site.index].index
        # the smaller network's twice: it is kept as it was while filters change
        each = [original[own] + 2 * small[site.index] for original, small in self._footprints]
        self._under_way = max(self._under_way, num_fitting(each, self._memory))

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Of the batches under way, the number of the first image, and how many there are."""
        return self._spans[: self._under_way]

    @property
    def tape(self) -> Tape:
        """What the smaller network runs."""
        return self._smalls[0].tape

    def before(self, site: Site, tensors: Mapping[str, Tensor]) -> list[Replay]:
        """Replays of the smaller network that stand before a layer, one for every batch."""
        running = self._smalls[: self._under_way]
        for replay in running:
            replay.advance(site.index)
        return [replay.fork(tensors) for replay in running]

    def return_(self, stand: Sequence[Replay], tensors: Mapping[str, Tensor]) -> None:
        """Put the smaller network back to where it was."""
        self._smalls[: len(stand)] = [replay.fork(tensors) for replay in stand]

    def features(self, site: Site) -> Iterator[Tensor]:
        """Advance the smaller network to a layer, and show what it reads."""
        for small in self._smalls[: self._under_way]:
            small.advance(site.index)
            yield small.value(site.features)

    def at(self, site: Site) -> Iterator[Seen]:
        """Advance every batch to a layer of the smaller network, and show what is there."""
        own = self._original_of[site.index]
        if own.addend is None:
            site = replace(site, addend=None)
        for span, original, small in zip(self.spans, self._originals, self._smalls, strict=False):
            original.advance(own.index + 1)
            small.advance(site.index)
            target = self._flow.kept(original.value(own.output), own.output, self._stays)
            lag = None
            if own.addend is not None and site.addend is not None:
                known = self._flow.kept(original.ahead(own.addend), own.addend, self._stays)
                lag = known - small.ahead(site.addend)
            yield Seen(*span, small.value(site.features), target, lag)
