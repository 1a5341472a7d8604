"""Refitting a cut network, layer after layer, so that it follows the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from convslim.channels.graph import ChannelGraph
from convslim.channels.tape import ExampleInput, named_tensors
from convslim.channels.trace import trace
from convslim.errors import PlanError
from convslim.surgery.form import planned_form
from convslim.surgery.plan import PruningPlan
from convslim.surgery.reconstruction.moments import Moments
from convslim.surgery.reconstruction.pair import Batches, Pair, Seen, listed
from convslim.surgery.reconstruction.rows import input_rows, num_positions, output_rows, sampled
from convslim.surgery.reconstruction.sites import Site, matrix_of, scale_behind, write_
from convslim.surgery.reconstruction.solve import Fit, fit

Which = Literal["readers", "all"]
HELD_OUT = 5
"""Every fifth image is held out of a fit, for the choice of λ."""

_LEAST_SCALE = 1e-4


@dataclass(frozen=True)
class FittedLayer:
    """One layer with new weights.

    Attributes:
        module: Dotted name.
        num_inputs: Unknowns of every output: inputs times kernel positions.
        num_rows: Equations, each an output position of an image.
        strength: λ as a fraction of the mean variance of the inputs; infinity where only the constant is new.
        num_changed, num_outputs: Outputs that got new weights; the others keep theirs, since their error on held-out
            images did not fall.
        error_before, error_after: Mean squared error on held-out images as a fraction of the outputs' variance.
        constant: Where the constant term went: ``"running mean"``, ``"bias"``, or empty for none.
    """

    module: str
    num_inputs: int
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
) -> Reconstruction:
    """Give a cut network new weights by least squares, in place, so that it follows the original.

    No labels, no training. In the order of the network every layer from the first reader of removed channels on gets
    the W and b that minimize ``mean |X W + b - Y|² + λ |W - W₀|²``: X are the smaller network's own inputs of the
    layer, so that earlier errors are corrected; Y is what the original's layer gives, and before a residual sum the
    original's sum minus what the smaller network adds; W₀ are the weights as they were cut; b goes into the running
    mean of the BatchNorm behind, or into the layer's bias. λ is chosen by the error on every fifth image, and an
    output whose error there does not fall keeps its weights.

    Args:
        small: The model without the channels, as :func:`convslim.remove` returns it.
        model: The original, left as found.
        plan: Leads from one to the other.
        batches: Inputs for the network, a few hundred images or more. Both networks go through all batches side by
            side, layer by layer, so about two activations of every image are in memory at a time.
        graph: The original's graph, if at hand.
        which: ``"all"``: every layer from the first reader of removed channels on. ``"readers"``: the readers only.
        per_image: Output positions taken of every image.

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
    pair = Pair(model, small, plan, inputs, _structure_of(model, plan, inputs[0], graph))
    tensors = named_tensors(small)
    fitted: list[FittedLayer] = []
    left: list[tuple[str, str]] = []
    behind = False
    for site in pair.layers.sites:
        reads = site.in_dim in plan.slices.get(site.weight, {})
        behind = behind or reads
        if site.weight in pair.layers.shared:
            left += [(site.module, "the layer is used more than once")] if reads else []
        elif reads or (behind and which == "all"):
            fitted.append(_refit_(site, tensors, pair, per_image))
    return Reconstruction(tuple(fitted), tuple(left), pair.num_images)


def _structure_of(model: nn.Module, plan: PruningPlan, batch: ExampleInput, graph: ChannelGraph | None) -> ChannelGraph:
    graph = trace(model, tree_map_only(Tensor, _first_image, batch)) if graph is None else graph
    if graph.structure != plan.structure:
        raise PlanError(
            f"The plan was made for another model (structure {plan.structure[:12]}, this {type(model).__name__} has "
            f"{graph.structure[:12]}). Make the plan from a trace of this model."
        )
    return graph


def _first_image(tensor: Tensor) -> Tensor:
    return tensor[:1] if tensor.dim() else tensor


def _refit_(site: Site, tensors: Mapping[str, Tensor], pair: Pair, per_image: int) -> FittedLayer:
    """Fit one layer and write its new weights."""
    weight = tensors[site.weight]
    start = matrix_of(weight.detach(), site).double()
    scale = scale_behind(site, tensors)
    bias = tensors[site.bias].detach().double() if site.bias else torch.zeros_like(scale)
    train, held = Moments.zeros(start), Moments.zeros(start)
    for seen in pair.at(site):
        _add_rows_(train, held, seen, site, bias, scale, per_image)
    importance = scale.square().reshape(start.shape[0], -1)
    found = fit(train, held, start, importance, shift=bool(site.mean or site.bias))
    write_(weight, found.matrix, site)
    constant = found.constant.reshape(-1)
    if site.mean:
        tensors[site.mean].sub_(constant)
    elif site.bias:
        tensors[site.bias].add_(constant)
    return _record(site, train + held, held, found, importance)


def _add_rows_(
    train: Moments, held: Moments, seen: Seen, site: Site, bias: Tensor, scale: Tensor, per_image: int
) -> None:
    """Add one batch's equations; every fifth image's are held out."""
    images = seen.num_images
    positions = sampled(seen.first, images, num_positions(seen.target.shape, site.kernel, images), per_image)
    positions = positions.to(seen.target.device)
    x = input_rows(seen.features, site.kernel, seen.target.shape, positions)
    y = output_rows(seen.target, site.kernel, positions).double() - bias
    if seen.lag is not None:
        # an output that hardly reaches the sum cannot make up for it
        reach = scale.abs() > _LEAST_SCALE * scale.abs().max()
        lag = output_rows(seen.lag.reshape(seen.target.shape), site.kernel, positions).double()
        y = y + torch.where(reach, lag / scale, 0.0)
    y = y.reshape(len(y), site.kernel.groups, -1).transpose(0, 1)
    number = torch.arange(seen.first, seen.first + images, device=positions.device)
    out = (number % HELD_OUT == HELD_OUT - 1)[:, None].expand_as(positions).reshape(-1)
    train.add_(x[:, ~out], y[:, ~out])
    held.add_(x[:, out], y[:, out])


def _record(site: Site, rows: Moments, held: Moments, found: Fit, importance: Tensor) -> FittedLayer:
    spread = float((held.centered().yy * importance).sum()) or 1.0
    return FittedLayer(
        module=site.module,
        num_inputs=found.matrix.shape[1],
        num_rows=int(rows.weight),
        strength=found.strength,
        num_changed=int(found.changed.sum()),
        num_outputs=found.changed.numel(),
        error_before=float((found.held_before * importance).sum()) / spread,
        error_after=float((found.held_after * importance).sum()) / spread,
        constant="running mean" if site.mean else "bias" if site.bias else "",
    )
