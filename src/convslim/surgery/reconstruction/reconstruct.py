"""Refitting a cut network, layer after layer, so that it follows the original."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from convslim.channels.graph import ChannelGraph
from convslim.channels.tape import ExampleInput, named_tensors
from convslim.channels.trace import trace
from convslim.errors import PlanError
from convslim.measure.watch import Watch, watched
from convslim.surgery.form import planned_form
from convslim.surgery.plan import PruningPlan
from convslim.surgery.reconstruction.footprint import MEMORY
from convslim.surgery.reconstruction.pair import Batches, Pair, listed
from convslim.surgery.reconstruction.producers import Stand, producers, together_
from convslim.surgery.reconstruction.refit import Fitted, Refit

Which = Literal["readers", "all"]


@dataclass(frozen=True)
class FittedLayer:
    """One layer with new weights.

    Attributes:
        module: Dotted name.
        num_inputs: Unknowns of every output: inputs times kernel positions.
        num_images: Images it was fitted to; all, or where maps are large as many as memory took.
        num_rows: Equations, each an output position of an image.
        strength: λ as a fraction of the mean variance of the inputs; infinity where only the constant is new.
        num_changed, num_outputs: Outputs that got new weights; the others keep theirs, since their error on held-out
            images did not fall.
        error_before, error_after: Mean squared error on held-out images as a fraction of the outputs' variance.
        constant: Where the constant term went: ``"running mean"``, ``"bias"``, or empty for none.
    """

    module: str
    num_inputs: int
    num_images: int
    num_rows: int
    strength: float
    num_changed: int
    num_outputs: int
    error_before: float
    error_after: float
    constant: str


@dataclass(frozen=True)
class Reconstruction:
    """What was refitted, and which readers of removed channels were not: pairs of a module and the reason."""

    layers: tuple[FittedLayer, ...]
    left: tuple[tuple[str, str], ...]
    num_images: int


@torch.no_grad()
def reconstruct_(
    small: nn.Module,
    model: nn.Module,
    plan: PruningPlan,
    batches: Batches,
    *,
    graph: ChannelGraph | None = None,
    which: Which = "all",
    per_image: int = 16,
    memory: int = MEMORY,
    watch: Watch | None = None,
) -> Reconstruction:
    """Give a cut network new weights by least squares, in place, so that it follows the original.

    No labels, no training. In the order of the network every layer from the first reader of removed channels on gets
    the W and b that minimize ``mean |X W + b - Y|² + λ |W - W₀|²``: X are the smaller network's own inputs of the
    layer, so that earlier errors are corrected; Y is what the original's layer gives, and before a residual sum the
    original's sum minus what the smaller network adds; W₀ are the weights as they were cut; b goes into the running
    mean of the BatchNorm behind, or into the layer's bias. λ is chosen by the error on every fifth image, and an
    output whose error there does not fall keeps its weights. A layer that was cut and that one layer alone reads then
    gets new filters, see :mod:`convslim.surgery.reconstruction.producers`, and that layer is fitted again.

    Args:
        small: The model without the channels, as :func:`convslim.remove` returns it.
        model: The original, left as found.
        plan: Leads from one to the other.
        batches: Inputs for the network, a few hundred images or more. Both networks go through the batches side by
            side, layer by layer, so a few activations of every image are in memory at a time.
        graph: The original's graph, if at hand.
        which: ``"all"``: every layer from the first reader of removed channels on. ``"readers"``: the readers, and the
            layers that they alone read.
        per_image: Output positions taken of every image, where all images are looked at; of fewer images more.
        memory: Bytes that these activations may take, by estimate. Where maps are too large for it, the layer is
            fitted to the first batches that fit, one at least; the others follow at layers with smaller maps.
        watch: Told how many layers are done.

    Raises:
        DataError: If there is no batch.
        ModelError: If a network cannot be run layer by layer.
        PlanError: If the plan was made for another model.

    References:
        He, Zhang, Sun, *Channel pruning for accelerating very deep neural networks*, ICCV 2017.
        Luo, Wu, Lin, *ThiNet: a filter level pruning method for deep neural network compression*, ICCV 2017.

    >>> import convslim
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    >>> images = torch.randn(64, 3, 8, 8)
    >>> plan = convslim.make_plan(convslim.trace(net, images[:1]), {"0": range(6)})
    >>> small = convslim.remove(net, plan, images[:1])
    >>> done = reconstruct_(small, net, plan, images.split(16))
    >>> [(layer.module, layer.error_after < layer.error_before) for layer in done.layers]
    [('2', True)]
    """
    if which not in get_args(Which):
        raise PlanError(f"There is no choice of layers {which!r}; known are {', '.join(get_args(Which))}.")
    inputs = listed(batches)
    model = planned_form(model, plan)
    pair = Pair(model, small, plan, inputs, _structure_of(model, plan, inputs[0], graph), memory)
    tensors = {name: tensor.detach() for name, tensor in named_tensors(small).items()}
    fitted: list[FittedLayer] = []
    left: list[tuple[str, str]] = []
    behind = False
    cut = producers(pair.layers, pair.tape, plan)
    stands: dict[str, Stand] = {}
    for site in watched(pair.layers.sites, "refit layers", watch):
        if not stands:
            pair.admit(site)
        reads = site.in_dim in plan.slices.get(site.weight, {})
        behind = behind or reads
        refit = Refit(site, tensors, pair, per_image)
        rows = None
        if site.weight in pair.layers.shared:
            left += [(site.module, "the layer is used more than once")] if reads else []
        elif reads or (behind and which == "all"):
            found = refit.run_()
            if site.index in cut:
                found = together_(refit, found, cut[site.index], stands.pop(cut[site.index].weight), pair, tensors)
            fitted.append(_record(refit, found))
            rows = found.rows
        if site in cut.values():
            if not stands:
                pair.admit(site)
            rows = operator.add(*refit.sums()) if rows is None else rows
            stands[site.weight] = Stand(pair.before(site, tensors), rows)
    return Reconstruction(tuple(fitted), tuple(dict.fromkeys(left)), pair.num_images)


def _structure_of(model: nn.Module, plan: PruningPlan, batch: ExampleInput, graph: ChannelGraph | None) -> ChannelGraph:
    if graph is None:
        graph = trace(model, tree_map_only(Tensor, _first_image, batch), ways=(plan.way,))
    if graph.structure != plan.structure:
        raise PlanError(
            f"The plan was made for another model (structure {plan.structure[:12]}, this {type(model).__name__} has "
            f"{graph.structure[:12]}). Make the plan from a trace of this model."
        )
    return graph


def _first_image(tensor: Tensor) -> Tensor:
    return tensor[:1] if tensor.dim() else tensor


def _record(refit: Refit, found: Fitted) -> FittedLayer:
    site, fit, importance = refit.site, found.fit, refit.importance
    spread = float((found.held.centered().yy * importance).sum()) or 1.0
    return FittedLayer(
        module=site.module,
        num_inputs=fit.matrix.shape[1],
        num_images=refit.num_images,
        num_rows=int(found.rows.weight),
        strength=fit.strength,
        num_changed=int(fit.changed.sum()),
        num_outputs=fit.changed.numel(),
        error_before=float((fit.held_before * importance).sum()) / spread,
        error_after=float((fit.held_after * importance).sum()) / spread,
        constant="running mean" if site.mean else "bias" if site.bias else "",
    )
