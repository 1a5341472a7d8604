"""The form of a model that a plan is carried out on: the user's class, or the plan's graph over its tensors."""

from __future__ import annotations

from torch import nn

from convslim.channels.program.assemble import assemble, is_program
from convslim.channels.tape import named_tensors
from convslim.errors import ArtifactError, PlanError
from convslim.surgery.plan import PruningPlan


def planned_form(model: nn.Module, plan: PruningPlan) -> nn.Module:
    """The model itself, or the graph that the plan holds, over the model's tensors and with its training flags.

    Raises:
        PlanError: If the plan's graph does not fit the model's tensors.
    """
    if plan.program is None or is_program(model):
        return model
    try:
        form = assemble(plan.program, named_tensors(model))
    except ArtifactError as error:
        raise PlanError(f"The plan's graph does not fit this {type(model).__name__}: {error}") from error
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, module in form.named_modules():
        module.training = modules[name].training if name in modules else model.training
    return form
