"""Removed channels that were constant still sent something on: add it to the bias of the layers that read them.

A BatchNorm scale of exactly zero leaves its shift: ``act(0 * x + beta) = act(beta)`` everywhere. Cutting such a
channel takes a constant ``c`` away from every consumer, which gets it back as ``sum_k W[o, i, k] * c``. For a linear
layer and a convolution without padding that is exact; at zero-padded borders the channel was 0 instead of ``c``, so
there it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only

from convslim.channels.graph import ChannelGraph
from convslim.channels.labeler import Labeler
from convslim.channels.labels import Vector
from convslim.channels.probe import kept_labels
from convslim.channels.tape import ExampleInput, OpCall, Tape, named_tensors
from convslim.surgery.form import planned_form
from convslim.surgery.masking import Watching, run_under
from convslim.surgery.plan import PruningPlan
from convslim.surgery.verify import fitting_graph

Reads = Mapping[int, Sequence[tuple[int, int, Vector]]]


@dataclass(frozen=True)
class FoldedLayer:
    """One layer that took over constants.

    Attributes:
        module: The layer that read the removed channels.
        num_constant: How many of them were constant and not zero.
        where: ``"bias"``, ``"new bias"`` or ``"running mean"`` of the BatchNorm behind it.
        exact: False where zero padding makes the border differ.
    """

    module: str
    num_constant: int
    where: str
    exact: bool


@dataclass(frozen=True, eq=False)
class Folding:
    """What was folded, and what could not be: pairs of a module and the reason."""

    layers: tuple[FoldedLayer, ...]
    left: tuple[tuple[str, str], ...]


def fold_(
    small: nn.Module,
    model: nn.Module,
    plan: PruningPlan,
    example_input: ExampleInput,
    *,
    graph: ChannelGraph | None = None,
) -> Folding:
    """Fold the constants of channels that ``plan`` removed from ``model`` into ``small``, in place.

    A channel counts as constant if a BatchNorm scale of it is exactly zero and its value, where it is read, is the same
    at every position of two different inputs.

    Args:
        small: The model without the channels, as :func:`convslim.remove` returns it.
        model: The original.
        plan: Leads from one to the other.
        example_input: As for :func:`convslim.trace`.
        graph: The original's graph, if at hand.

    Raises:
        PlanError: If the plan was made for another model.
    """
    model = planned_form(model, plan)
    graph = fitting_graph(model, plan, example_input, graph)
    evidence = graph.evidence
    assert evidence is not None, "a traced graph has evidence"
    dead = _labels_without_scale(graph, model, evidence.labeler)
    dead &= ~kept_labels(graph, evidence.labeler, plan.kept)
    reads = {index: found for index, found in evidence.labeler.reads.items() if any(dead[f[2]].any() for f in found)}
    layers: list[FoldedLayer] = []
    left: list[tuple[str, str]] = []
    for index, constants in _constants(model, example_input, reads, dead).items():
        call = evidence.tape.calls[index]
        reason = _obstacle(call, evidence.tape)
        if reason:
            left.append((call.module, reason))
        elif constants.any():
            layers.append(_fold_one_(small, model, plan, evidence.tape, call, constants))
    return Folding(tuple(layers), tuple(left))


def _labels_without_scale(graph: ChannelGraph, model: nn.Module, labeler: Labeler) -> npt.NDArray[np.bool_]:
    """Labels of channels that pass a BatchNorm whose scale is exactly zero for them."""
    classes = labeler.store.resolve()
    dead = np.zeros(int(classes.max()) + 1, dtype=bool)
    modules, tensors = dict(model.named_modules()), named_tensors(model)
    for group in graph.groups:
        for axis in group.axes:
            owner, _, leaf = axis.tensor.rpartition(".")
            if leaf == "weight" and isinstance(modules.get(owner), nn.modules.batchnorm._NormBase):
                zero = (tensors[axis.tensor].detach() == 0).cpu().numpy()
                dead[classes[labeler.seeds[axis.tensor][axis.dim][zero]]] = True
    return dead[classes]


class _Constants(Watching):
    """Notes, for every read, which channels have one value everywhere."""

    def __init__(self, reads: Reads) -> None:
        super().__init__()
        self.found: dict[int, tuple[Tensor, Tensor]] = {}
        self._reads = reads

    def prepare(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        for position, dim, _ in self._reads.get(self.index, ()):
            leaves = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
            rows = leaves[position].transpose(0, dim).flatten(1)
            self.found[self.index] = rows.amin(1), rows.amax(1)
        return args, kwargs


def _constants(
    model: nn.Module, example_input: ExampleInput, reads: Reads, dead: npt.NDArray[np.bool_]
) -> dict[int, npt.NDArray[np.float64]]:
    """Value of every dead and constant channel by read, 0 for all others."""
    if not reads:
        return {}
    first = _measure(model, example_input, reads)
    second = _measure(model, tree_map_only(Tensor, _shuffled, example_input), reads)
    constants = {}
    for index, ((_, _, labels), *_rest) in reads.items():
        bounds = torch.stack([*first[index], *second[index]]).double().cpu().numpy()
        low, high = bounds.min(0), bounds.max(0)
        same = high - low <= 1e-6 * np.maximum(1.0, np.abs(high))
        constants[index] = np.where(dead[labels] & same, high, 0.0)
    return constants


def _measure(model: nn.Module, example_input: ExampleInput, reads: Reads) -> dict[int, tuple[Tensor, Tensor]]:
    measuring = _Constants(reads)
    run_under(measuring, model, example_input)
    return measuring.found


def _shuffled(tensor: Tensor) -> Tensor:
    """Another input of the same kind: noise around the example's values."""
    if not tensor.is_floating_point():
        return tensor
    noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)).to(tensor)
    return tensor + noise * max(float(tensor.std()) if tensor.numel() > 1 else 0.0, 1.0)


def _obstacle(call: OpCall, tape: Tape) -> str:
    """Why a constant cannot be given back to this layer; empty if it can."""
    if call.name not in ("convolution", "addmm", "mm"):
        return "what reads the constant has no bias"
    if call.name == "convolution" and call["transposed"]:
        return "a transposed convolution spreads the constant unevenly"
    if any(node.name == call.node for node in tape.nodes):
        return "the graph calls no layer there that could have a bias"
    name = _weight_name(call, tape)
    if not name:
        return "its weight is computed"
    uses = sum(other.name == call.name and _weight_name(other, tape) == name for other in tape.calls)
    return "the layer is used more than once" if uses > 1 else ""


def _weight_name(call: OpCall, tape: Tape) -> str:
    """Name of the weight that a layer's call reads; a linear layer's comes transposed."""
    if call.name == "convolution":
        return call.inputs[1].name
    wanted = call.inputs[-1].id
    made = next((other for other in tape.calls if any(out.id == wanted for out in other.outs)), None)
    return made.inputs[0].name if made is not None and made.name == "t" else ""


def _fold_one_(
    small: nn.Module,
    model: nn.Module,
    plan: PruningPlan,
    tape: Tape,
    call: OpCall,
    constants: npt.NDArray[np.float64],
) -> FoldedLayer:
    name = _weight_name(call, tape)
    weight = named_tensors(model)[name].detach()
    values = torch.as_tensor(constants, dtype=torch.float64, device=weight.device)
    shift = _response(call, weight.double(), values)
    kept = plan.slices.get(name, {}).get(0)
    shift = (shift if kept is None else shift[list(kept)]).to(weight.dtype)
    padded = call.name == "convolution" and any(call["padding"])
    where = _add_(small, name.rpartition(".")[0], shift, call, tape)
    return FoldedLayer(call.module, int(np.count_nonzero(constants)), where, not padded)


def _response(call: OpCall, weight: Tensor, values: Tensor) -> Tensor:
    """What the layer makes of the constants, away from the border; shape ``(C_out,)``."""
    if call.name != "convolution":
        return weight @ values
    groups = call["groups"]
    taps = weight.flatten(2).sum(2).reshape(groups, -1, weight.shape[1])
    return torch.einsum("goi,gi->go", taps, values.reshape(groups, -1)).reshape(-1)


@torch.no_grad()
def _add_(small: nn.Module, owner: str, shift: Tensor, call: OpCall, tape: Tape) -> str:
    """Add to the layer's bias, or take it from the mean that the BatchNorm behind it subtracts."""
    module = small.get_submodule(owner)
    if isinstance(module.bias, Tensor):
        module.bias += shift
        return "bias"
    readers = [other for other in tape.calls if any(ref.id == call.outs[0].id for ref in other.inputs)]
    if len(readers) == 1 and "batch_norm" in readers[0].name:
        mean = readers[0].bound.get("running_mean")
        if mean is not None and mean.name:
            named_tensors(small)[mean.name].sub_(shift)
            return "running mean"
    module.bias = nn.Parameter(shift.clone())
    return "new bias"
