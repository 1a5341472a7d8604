"""Carrying a plan out: slice, set the modules' own numbers, prove, return."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx, nn

from convslim.channels.graph import ChannelGraph
from convslim.channels.program.numbers import is_number_name, numbers_in
from convslim.channels.slicing import sliced_copy
from convslim.channels.tape import ExampleInput, named_tensors
from convslim.channels.undisturbed import collector_paused
from convslim.errors import PlanError
from convslim.surgery.form import planned_form
from convslim.surgery.plan import PruningPlan
from convslim.surgery.verify import TOLERANCE, Certificate, fitting_graph, verify


@dataclass(frozen=True, eq=False)
class Removal:
    """A smaller model with its proof."""

    model: nn.Module
    certificate: Certificate


def remove(
    model: nn.Module,
    plan: PruningPlan,
    example_input: ExampleInput,
    *,
    graph: ChannelGraph | None = None,
    tolerance: float = TOLERANCE,
) -> nn.Module:
    """A new model without the channels that the plan removes, proven before it is returned.

    It is of the user's own class, or, if the plan's way is ``"graph"``, a ``torch.fx.GraphModule`` with the same names.

    Args:
        model: Left as it is.
        plan: Made for this model's structure.
        example_input: As for :func:`convslim.trace`.
        graph: The model's graph, if at hand; traced otherwise.
        tolerance: Largest error relative to the largest output value in the comparison with the masked original.

    Raises:
        PlanError: If the plan was made for another model.
        VerificationError: If the result is not the masked original.

    Example:
        >>> import torch, convslim
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1))
        >>> x = torch.randn(1, 3, 8, 8)
        >>> plan = convslim.make_plan(convslim.trace(net, x), {"0": [0, 2, 5]})
        >>> convslim.remove(net, plan, x)[2]
        Conv2d(3, 4, kernel_size=(1, 1), stride=(1, 1))
    """
    return carry_out(model, plan, example_input, graph=graph, tolerance=tolerance).model


def carry_out(
    model: nn.Module,
    plan: PruningPlan,
    example_input: ExampleInput,
    *,
    graph: ChannelGraph | None = None,
    tolerance: float = TOLERANCE,
) -> Removal:
    """Like :func:`remove`, with the certificate."""
    with collector_paused():
        model = planned_form(model, plan)
        graph = fitting_graph(model, plan, example_input, graph)
        small = rebuild(model, plan)
        return Removal(small, verify(model, small, plan, example_input, graph=graph, tolerance=tolerance))


def rebuild(model: nn.Module, plan: PruningPlan) -> nn.Module:
    """Replay a plan on fresh weights of the same architecture, without running the model.

    For code that builds the unpruned model again, such as a trainer: ``rebuild(factory(), plan)`` has the pruned
    shapes, ready for ``load_state_dict``.

    Raises:
        PlanError: If a tensor or module of the plan is missing, or a tensor too small.
    """
    model = planned_form(model, plan)
    tensors = named_tensors(model)
    strange = _strange_numbers(model, plan)
    if strange:
        raise PlanError(f"The plan sets a number of {strange[0]!r}, which {type(model).__name__} does not have.")
    for name, by_dim in plan.slices.items():
        if name not in tensors:
            raise PlanError(f"The plan slices {name!r}, which {type(model).__name__} does not have.")
        for dim, positions in by_dim.items():
            shape = tuple(tensors[name].shape)
            if dim >= len(shape) or positions[-1] >= shape[dim]:
                raise PlanError(
                    f"The plan keeps position {positions[-1]} of dimension {dim} of {name!r}, whose shape is {shape}. "
                    "Give the unpruned model that the plan was made for."
                )
    return sliced_copy(model, plan.slices, plan.attributes)


def _strange_numbers(model: nn.Module, plan: PruningPlan) -> list[str]:
    """Layers and graph numbers that the plan sets and the model does not have."""
    layers = {name.rpartition(".")[0] for name in plan.attributes if not is_number_name(name)}
    numbers = {name for name in plan.attributes if is_number_name(name)}
    known = numbers_in(model.graph) if isinstance(model, fx.GraphModule) else set()
    return sorted(layers - dict(model.named_modules(remove_duplicate=False)).keys()) + sorted(numbers - known)
