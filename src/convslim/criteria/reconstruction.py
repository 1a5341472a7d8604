"""Which channels cost least once their readers are refitted, and how much error every width of a group costs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from convslim.channels.graph import ChannelGraph, ChannelGroup
from convslim.channels.labeler import Labeler
from convslim.channels.program.assemble import assemble, is_program
from convslim.channels.tape import ExampleInput, named_tensors
from convslim.criteria.downdates import LeastSquares, removal_order
from convslim.criteria.scores import Scores
from convslim.criteria.views import View, look_
from convslim.measure.watch import Watch, watched
from convslim.surgery.reconstruction.pair import graph_for, listed
from convslim.surgery.reconstruction.replay import replays
from convslim.surgery.reconstruction.sites import Layers, Site

NAME = "reconstruction"


@dataclass(frozen=True, eq=False)
class ErrorCurve:
    """What every width of a group costs.

    Attributes:
        order: Channels in the order in which they go, ``(C,)``.
        error: Error when the first r have gone, for r from 0 to C, ``(C + 1,)``; never falling.
    """

    order: npt.NDArray[np.int64]
    error: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ErrorCurves:
    """The curves of all groups that layers with weights read.

    Attributes:
        structure: Hash of the graph that they belong to.
        curves: By group name.
        unscored: Prunable groups without a curve: only products of activations read them.
    """

    structure: str
    curves: Mapping[str, ErrorCurve]
    unscored: tuple[str, ...]

    def scores(self) -> Scores:
        """The curves as scores, whose sum over the channels that go is the error.

        A channel's score is what its removal adds. Where a later removal adds less than an earlier one, both get
        their mean: the curve becomes the largest convex one below it, and channels go in the same order.
        """
        values = {name: _scores_of(curve) for name, curve in self.curves.items()}
        return Scores(NAME, self.structure, values, self.unscored)


def error_curves(
    graph: ChannelGraph,
    model: nn.Module,
    batches: Iterable[ExampleInput],
    *,
    per_image: int = 16,
    watch: Watch | None = None,
) -> ErrorCurves:
    """What the removal of channels costs after refitting what reads them, for every group; no labels, no training.

    For every layer that reads a group the Gram matrix of its inputs is summed over the batches. Then channels go one
    by one, always the one whose removal costs least when the weights of all others are refitted, see
    :mod:`convslim.criteria.downdates`; a channel of a convolution is a block of kH·kW inputs. The errors of several
    readers add.

    The error of a reader is ``Σ_o (a_o ΔY_o)² / Σ_o Var(S_o)``: the mean squared change of its outputs, a the scale
    of the BatchNorm behind it, as a fraction of the variance of the sum S that they are added to (without a residual
    sum, of the outputs themselves). So the errors of all layers are noise relative to the signal they meet.

    Args:
        graph: The model's channel graph.
        model: Left as found.
        batches: Inputs for the network, a few hundred images.
        per_image: Output positions taken of every image.
        watch: Told how many batches have passed, and then how many layers are done.

    Raises:
        DataError: If there is no batch.
        ModelError: If the model cannot be run layer by layer, or its outputs are not finite.
    """
    inputs = listed(batches)
    if graph.program is not None and not is_program(model):
        model = assemble(graph.program, named_tensors(model))
    running = replays(model, inputs)
    graph = graph_for(model, graph, running[0], inputs[0])
    readers = _Readers(graph)
    tensors = {name: tensor.detach() for name, tensor in named_tensors(model).items()}
    read = [(site, found) for site in Layers(running[0].tape).sites if (found := readers.blocks(site))]
    waiting: dict[str, list[LeastSquares]] = {}
    curves: dict[str, ErrorCurve] = {}
    last = {name: site.index for site, found in read for name in found}
    with torch.no_grad():
        views = deque(View(site, tensors, per_image) for site, _ in read)
        look_(views, running, inputs, watch)
        for site, found in watched(read, "measure removals", watch):
            problem = views.popleft().problem()
            for name, places in found.items():
                waiting.setdefault(name, []).extend(_parts(site, *problem, places))
                if last[name] == site.index:
                    curves[name] = _curve(waiting.pop(name))
    unscored = tuple(group.name for group in graph.prunable if group.name not in curves)
    return ErrorCurves(graph.structure, curves, unscored)


class _Readers:
    """Which inputs of a layer stand for which channels."""

    def __init__(self, graph: ChannelGraph) -> None:
        assert graph.evidence is not None, "a traced graph has evidence"
        labeler = graph.evidence.labeler
        self._classes = labeler.store.resolve()
        self._reads = labeler.reads
        self._groups = {group.name: _channel_of_class(group, labeler, self._classes) for group in graph.prunable}

    def blocks(self, site: Site) -> dict[str, npt.NDArray[np.int64]]:
        """Input channels of the layer by group and channel, ``(C, positions)``, if it reads all equally often."""
        found = {}
        for _, _, labels in self._reads.get(site.index, ()):
            for name, channel_of in self._groups.items():
                channels = channel_of[self._classes[labels]]
                counts = np.bincount(channels[channels >= 0], minlength=channel_of.max() + 1)
                if counts[0] and (counts == counts[0]).all():
                    order = np.argsort(channels, kind="stable")[(channels < 0).sum() :]
                    found[name] = order.reshape(len(counts), -1)
        return found


def _channel_of_class(group: ChannelGroup, labeler: Labeler, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    axis = group.axes[0]
    channel_of = np.full(int(classes.max()) + 1, -1)
    labels = labeler.seeds[axis.tensor][axis.dim][axis.index]
    channel_of[classes[labels]] = np.arange(group.num_channels)[:, None]
    return channel_of


def _parts(site: Site, grams: Tensor, matrices: Tensor, places: npt.NDArray[np.int64]) -> Iterator[LeastSquares]:
    """One problem for every conv group, with the channels' positions in it."""
    taps = math.prod(site.kernel.size)
    width = grams.shape[1] // taps
    for number, (gram, matrix) in enumerate(zip(grams, matrices, strict=True)):
        inside = places[(places // width) == number].reshape(len(places), -1) % width
        blocks = (inside[..., None] * taps + np.arange(taps)).reshape(len(places), -1)
        if blocks.size:
            yield LeastSquares(gram, matrix, blocks)


def _curve(problems: Sequence[LeastSquares]) -> ErrorCurve:
    order, added = removal_order(problems)
    return ErrorCurve(order, np.concatenate([[0.0], np.cumsum(np.maximum(added, 0.0))]))


def _scores_of(curve: ErrorCurve) -> npt.NDArray[np.float64]:
    """Pooled increments: the means of adjacent violators of a rising order."""
    sums: list[float] = []
    counts: list[int] = []
    for increment in np.diff(curve.error):
        sums.append(float(increment))
        counts.append(1)
        while len(sums) > 1 and sums[-2] / counts[-2] >= sums[-1] / counts[-1]:
            total, count = sums.pop(), counts.pop()
            sums[-1] += total
            counts[-1] += count
    rising = np.repeat(np.array(sums) / counts, counts)
    values = np.empty(len(rising))
    # of equal scores the lower index would stay: a last digit keeps the order
    values[curve.order] = rising * (1 + 1e-9 * np.arange(len(rising)))
    return values
