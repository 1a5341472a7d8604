"""The fastest way to judge candidates of a network that gives what removal gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.backends import mkldnn

from convslim.channels.graph import ChannelGraph
from convslim.channels.probe import trial_kept
from convslim.channels.program.assemble import assemble
from convslim.channels.tape import ExampleInput, named_tensors
from convslim.channels.trace import trace
from convslim.errors import ConvslimError, ModelError
from convslim.search.evaluation_images import JudgingImages
from convslim.search.evaluation_refit import Readers
from convslim.search.evaluation_removal import RemovalEvaluator
from convslim.search.evaluation_views import Precision, ViewEvaluator
from convslim.surgery.form import planned_form
from convslim.surgery.plan import PruningPlan, make_plan

TOLERANCES: dict[Precision, float] = {"32": 1e-3, "bf16": 0.1}
"""Largest ‖s' - s‖/‖s‖ for an output s of a trial candidate, float32 after removal, and s' as judged."""


def build_evaluator(
    model: nn.Module,
    graph: ChannelGraph,
    example_input: ExampleInput,
    images: JudgingImages,
    *,
    precision: Literal["auto", "32", "bf16"] = "auto",
    error: float = 0.01,
    seed: int = 0,
    refit: bool = False,
    keep: bool = True,
) -> ViewEvaluator | RemovalEvaluator:
    """Judge candidates on slices of the network's weights if that gives what removal gives, by removal otherwise.

    A trial candidate, a third of every group, is judged in both ways first; its outputs have to agree to
    :data:`TOLERANCES`. The network is left as it is.

    Args:
        model: The network that candidates are parts of; its weights are taken now.
        graph: Its trace.
        example_input: As for :func:`convslim.trace`.
        images: What candidates are shown; none of them may be a test image.
        precision: ``"bf16"`` computes in bfloat16; ``"auto"`` does so where the processor has instructions for it.
        error: Probability with which a hopeless-looking candidate is given up that was none.
        seed: Of the order in which the images are looked at.
        refit: Give every candidate new weights in the layers that read removed channels, by least squares, see
            :mod:`convslim.search.evaluation_refit`: the fitness of a network that will be reconstructed.
        keep: Keep activations of first layers, up to a gigabyte, for candidates that share them, see
            :mod:`convslim.search.evaluation_prefix`.

    Raises:
        ModelError: If the network does not give what the images are measured by, or nothing of it can be removed.
        DataError: If a target does not fit the network's outputs.

    Example:
        >>> import convslim
        >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 6), nn.Flatten())
        >>> x = torch.randn(6, 1, 8, 8)
        >>> graph = convslim.trace(net, x)
        >>> judge = build_evaluator(net, graph, x, JudgingImages([x], x, torch.zeros(6, dtype=torch.long)))
        >>> judge(convslim.make_plan(graph, {"0": range(5)})).total
        6
    """
    kept = trial_kept(graph)
    if not kept:
        raise ModelError(
            f"No channel of {type(model).__name__} can be removed, so there are no candidates. "
            "graph.explain(name) says what pins a layer's channels."
        )
    trial, images = make_plan(graph, kept), images.shuffled(seed)
    first, targets = images.batches()[0]
    few = replace(images, calibration=images.calibration[:1], images=first, targets=targets)
    readers = Readers(model, images.calibration) if refit else None
    expected = RemovalEvaluator(model, graph, example_input, few, readers=readers).outputs(trial)
    found, reason = _ways(model, graph, example_input, trial, images.images.device), ""
    ways = [replace(way, readers=readers, keep=keep) for way in found]
    for kind in _precisions(precision, images.images.device):
        for way in ways:
            failure = _failure(way, graph, few, trial, expected, kind)
            if not failure:
                return way.evaluator(graph, images, kind, error, reason)
            reason = reason or failure
    return RemovalEvaluator(model, graph, example_input, images, error=error, reason=reason, readers=readers)


@dataclass(frozen=True, eq=False)
class _Way:
    """One way to judge on slices, as `name` says: a form of the network, its graph, the layout, fused, refitted."""

    name: str
    form: nn.Module
    graph: ChannelGraph
    layout: torch.memory_format
    fused: bool
    readers: Readers | None = None
    keep: bool = True

    def evaluator(
        self, plans: ChannelGraph, images: JudgingImages, precision: Precision, error: float, reason: str
    ) -> ViewEvaluator:
        return ViewEvaluator(
            self.form,
            self.graph,
            images,
            structure=plans.structure,
            precision=precision,
            layout=self.layout,
            fused=self.fused,
            error=error,
            reason=reason,
            readers=self.readers,
            keep=self.keep,
        )


def _ways(
    model: nn.Module, graph: ChannelGraph, example_input: ExampleInput, trial: PruningPlan, device: torch.device
) -> list[_Way]:
    """What to try, the fastest first."""
    form = planned_form(model, trial)
    ways = [
        _Way("channels last", form, graph, torch.channels_last, False),
        _Way("contiguous", form, graph, torch.contiguous_format, False),
    ]
    written = _written(model, graph, example_input) if device.type == "cpu" and mkldnn.is_available() else None
    if written is not None and written.program is not None:
        program = assemble(written.program, named_tensors(model))
        ways.insert(0, _Way("fused", program, written, torch.channels_last, True))
    return ways


def _written(model: nn.Module, graph: ChannelGraph, example_input: ExampleInput) -> ChannelGraph | None:
    """The model's channels as a graph that has all groups of the given one; None if there is none."""
    if graph.way == "graph":
        return graph
    try:
        other = trace(model, example_input, ways=("graph",))
    except ConvslimError:
        return None
    sizes = {group.name: group.num_channels for group in other.prunable}
    return other if all(sizes.get(group.name) == group.num_channels for group in graph.prunable) else None


def _precisions(wanted: Literal["auto", "32", "bf16"], device: torch.device) -> tuple[Precision, ...]:
    """What to try, the fastest first."""
    if wanted == "auto":
        fast = torch.cpu._is_avx512_bf16_supported() if device.type == "cpu" else torch.cuda.is_bf16_supported()
        return ("bf16", "32") if fast else ("32",)
    return ("bf16", "32") if wanted == "bf16" else ("32",)


def _failure(
    way: _Way, graph: ChannelGraph, few: JudgingImages, trial: PruningPlan, expected: list[Tensor], precision: Precision
) -> str:
    """Why a way does not give what removal gives; empty if it does."""
    name = f"On slices of the weights, {precision}, {way.name}:"
    try:
        found = way.evaluator(graph, few, precision, 0.01, "").outputs(trial)
    except (ConvslimError, RuntimeError) as failure:
        return f"{name} {failure}"
    pairs = zip(found, expected, strict=True)
    errors = [(ours - wanted).norm() / wanted.norm().clamp_min(1e-30) for ours, wanted in pairs]
    error = float(torch.stack(errors).max())  # which a NaN of any of them becomes
    if not error <= TOLERANCES[precision]:
        return f"{name} the outputs of a trial candidate differ by {error:.2g} of their norm."
    return ""
