"""Two independent proofs that a smaller model is the original without the removed channels.

*Masked equals removed*: the original runs with the removed channels set to zero wherever a layer reads them; its
outputs must equal the smaller model's. *Labels*: the smaller model's own pass is recorded, and at every single
operation the channels that arrive must be exactly the kept ones, in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from convslim.channels.graph import ChannelGraph
from convslim.channels.probe import compare, kept_labels
from convslim.channels.recorder import record
from convslim.channels.tape import ExampleInput, Tape, as_arguments, output_tensors
from convslim.channels.trace import trace
from convslim.errors import PlanError, VerificationError
from convslim.surgery.form import planned_form
from convslim.surgery.locate import first_difference
from convslim.surgery.masking import See, run_masked, run_watched
from convslim.surgery.plan import PruningPlan

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Certificate:
    """What was proven of a smaller model.

    Attributes:
        max_error: Largest absolute difference between the masked original's and the smaller model's outputs.
        relative_error: The same, divided by the largest absolute value of the output concerned.
        tolerance: Upper limit of ``relative_error``.
        num_operations: Operations at which the channels were checked to be the kept ones. Fewer than all if one
            single channel is left somewhere: PyTorch then runs other, equivalent operations from there on.
        num_outputs: Output tensors that were compared.
        num_approximate: Groups that lost channels which others are normalized with. Where there are any, the masked
            original takes the statistics of those normalizations over the kept channels, as the smaller model does.
    """

    max_error: float
    relative_error: float
    tolerance: float
    num_operations: int
    num_outputs: int
    num_approximate: int = 0

    @property
    def exact(self) -> bool:
        """True if the smaller model is the original with zeros in place of the removed channels, and nothing else."""
        return not self.num_approximate


def verify(
    model: nn.Module,
    small: nn.Module,
    plan: PruningPlan,
    example_input: ExampleInput,
    *,
    graph: ChannelGraph | None = None,
    tolerance: float = TOLERANCE,
) -> Certificate:
    """Prove that ``small`` is ``model`` without the channels that ``plan`` removes.

    Args:
        model: The original.
        small: What claims to be smaller and equal.
        plan: The plan that leads from one to the other.
        example_input: As for :func:`convslim.trace`.
        graph: The original's graph, if at hand; traced otherwise.
        tolerance: Largest error relative to the largest output value.

    Raises:
        PlanError: If the plan was made for another model.
        VerificationError: If the two differ; the message says where first.
    """
    model = planned_form(model, plan)
    graph = fitting_graph(model, plan, example_input, graph)
    evidence = graph.evidence
    assert evidence is not None, "a traced graph has evidence"
    stays = kept_labels(graph, evidence.labeler, plan.kept)
    tape = record(small, example_input, until=evidence.tape.selection)
    mismatch = compare(evidence, tape, stays)
    num_checked = len(tape.calls)
    if mismatch is not None and tape.error is None and _leaves_single_channel(plan):
        num_checked = mismatch.index
    elif mismatch is not None:
        call = evidence.tape.calls[min(mismatch.index, len(evidence.tape.calls) - 1)]
        raise VerificationError(
            f"The smaller model is not the original without the removed channels. First difference at operation "
            f"{mismatch.index}, {call.title} in {call.module or 'the model'} ({call.source}): {mismatch.message}."
        )

    def run_small(see: See) -> Any:
        return run_watched(small, example_input, see)

    def run_original(see: See | None = None) -> Any:
        return run_masked(model, example_input, evidence, stays, see)

    masked = output_tensors(run_original())
    certificate = _compare_outputs(masked, output_tensors(tape.result), tolerance, num_checked)
    if certificate.relative_error > tolerance:
        raise VerificationError(
            f"The smaller model's output differs from the masked original's by {certificate.max_error:.3g} "
            f"({certificate.relative_error:.3g} of the largest value; allowed {tolerance:.3g})"
            f"{first_difference(run_small, run_original, evidence, stays, num_checked, tolerance)}. "
            "Nothing was returned."
        )
    approximate = sum(not graph.group(name).exact for name in plan.removed)
    return replace(certificate, num_approximate=approximate)


def _leaves_single_channel(plan: PruningPlan) -> bool:
    """True where PyTorch may take another path, through dimensions of size 1, to the same values."""
    return any(len(plan.kept[name]) == 1 for name in plan.removed)


def fitting_graph(
    model: nn.Module, plan: PruningPlan, example_input: ExampleInput, graph: ChannelGraph | None
) -> ChannelGraph:
    """The graph of ``model`` with evidence, checked to be the one that ``plan`` was made for."""
    if graph is None or graph.evidence is None or not _saw(graph.evidence.tape, example_input):
        graph = trace(model, example_input, ways=(plan.way,))
        if graph.structure != plan.structure:
            graph = trace(model, example_input, ways=(plan.way,), approximate=False)
    if graph.structure != plan.structure:
        raise PlanError(
            f"The plan was made for another model (structure {plan.structure[:12]}, this {type(model).__name__} has "
            f"{graph.structure[:12]}). Make the plan from a trace of this model with the same example input."
        )
    if plan.channels != {group.name: group.num_channels for group in graph.groups}:
        raise PlanError("The plan has this model's structure but other groups: it was changed by hand or is damaged.")
    return graph


def _saw(tape: Tape, example_input: ExampleInput) -> bool:
    """True if the recorded pass ran on inputs of these shapes, so that another pass can be compared with it."""
    given = [leaf for leaf in tree_flatten(as_arguments(example_input))[0] if isinstance(leaf, Tensor)]
    return [tuple(tensor.shape) for tensor in given] == [ref.shape for ref in tape.model_inputs]


def _compare_outputs(masked: list[Tensor], removed: list[Tensor], tolerance: float, num_operations: int) -> Certificate:
    if len(masked) != len(removed):
        raise VerificationError(f"The smaller model returns {len(removed)} tensors instead of {len(masked)}.")
    worst, worst_relative = 0.0, 0.0
    for number, (expected, found) in enumerate(zip(masked, removed, strict=True)):
        if expected.shape != found.shape:
            raise VerificationError(
                f"Output {number} of the smaller model has shape {tuple(found.shape)} "
                f"instead of {tuple(expected.shape)}."
            )
        error, scale = _difference(expected, found, number)
        worst, worst_relative = max(worst, error), max(worst_relative, error / scale if error else 0.0)
    return Certificate(worst, worst_relative, tolerance, num_operations, len(masked))


def _difference(expected: Tensor, found: Tensor, number: int) -> tuple[float, float]:
    if not expected.numel():
        return 0.0, 1.0
    dtype = torch.complex128 if expected.is_complex() else torch.float64
    left, right = expected.to(dtype), found.to(dtype)
    if not torch.isfinite(left.abs()).all():
        raise VerificationError(
            f"Output {number} of the model holds NaN or infinity on the example input, so nothing can be compared. "
            "Give an example input with usual values."
        )
    error = float((left - right).abs().max())
    return (error if error == error else float("inf")), max(float(left.abs().max()), 1e-30)
