"""One forward pass of a model → :class:`~convslim.channels.graph.ChannelGraph`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils._pytree import tree_map_only

from convslim.channels.graph import ChannelGraph
from convslim.channels.groups import TensorInfo, build_graph
from convslim.channels.labeler import Labeler, Rule
from convslim.channels.probe import Evidence, Mismatch, compare, kept_labels, trial_kept
from convslim.channels.recorder import record
from convslim.channels.rules import RULES, by_tag
from convslim.channels.slicing import attributes_of, removable_macs, sliced_copy, slices_of
from convslim.channels.tape import ExampleInput, OpCall, Tape, named_tensors
from convslim.channels.undisturbed import collector_paused
from convslim.channels.ways import WAYS, choose_way
from convslim.errors import ModelError

MAX_TRIALS = 64
PATIENCE = 6  # trials before the blame goes to all calls of a line of code


def trace(
    model: nn.Module,
    example_input: ExampleInput,
    *,
    rules: Mapping[str, Rule] | None = None,
    approximate: bool = True,
    ways: Sequence[str] = WAYS,
) -> ChannelGraph:
    """Find which channels of a network belong together.

    The model runs once without gradients in evaluation mode; its weights, flags, buffers, hooks and the random state
    are as before. Operations that no rule covers pin the channels that reach them.

    Args:
        model: Any module whose forward runs on ``example_input``.
        example_input: A tensor, a tuple of positional arguments, or a dict of keyword arguments. Batch 1 is enough.
        rules: Rules for further operations, by name (``"mylib::myop"``), before the built-in ones.
        approximate: False pins channels that others are normalized with (LayerNorm, means over channels, standardized
            weights), so that every removal is exact. Otherwise their groups carry the reasons in ``approximations``.
        ways: What plans may be carried out on: the model's ``"class"``, or, where numbers in its code hold channels
            back, a ``"graph"`` of it. The result's ``way`` and ``way_reason`` say which was taken and why.

    Returns:
        The channel groups, with producers, consumers, constraints, and reasons of pinned ones.

    Raises:
        ModelError: If the model fails on the example input, or ``ways`` names no way.
        ExportError: If only the graph is allowed and the model cannot be written as one.

    Example:
        >>> import torch, convslim
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1))
        >>> graph = convslim.trace(net, torch.zeros(1, 3, 8, 8))
        >>> [(group.name, group.num_channels, group.prunable) for group in graph.groups]
        [('0', 8, True), ('2', 4, False)]

    References:
        The idea of groups of coupled layers: Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023.
    """
    with collector_paused():
        walking = Walking({**RULES, **(rules or {})}, approximate)
        return choose_way(model, example_input, ways, lambda form: _trace(form, example_input, walking))


@dataclass(frozen=True)
class Walking:
    """How tapes are walked.

    Attributes:
        rules: The table of rules.
        approximate: Whether channels that others are normalized with may go.
        insist: Whether a choice that leaves its channels pinned is taken back while another one is untried.
    """

    rules: Mapping[str, Rule]
    approximate: bool
    insist: bool = False

    def walk(self, tapes: Sequence[Tape], choices: Mapping[int, int]) -> list[Labeler]:
        """One walk per tape over common labels; choices are of the first."""
        walks: list[Labeler] = []
        for tape in tapes:
            sharing = walks[0] if walks else None
            walks.append(
                Labeler(self.rules, choices if not walks else None, sharing=sharing, approximate=self.approximate)
            )
            walks[-1].walk(tape, by_tag)
        return walks


def _trace(model: nn.Module, example_input: ExampleInput, walking: Walking) -> ChannelGraph:
    _check_model(model)
    tape = record(model, example_input)
    if tape.error is not None:
        raise ModelError(
            f"{type(model).__name__} fails on the example input: {type(tape.error).__name__}: {tape.error}. "
            "Give an example_input of the shape and type that its forward expects."
        ) from tape.error
    if not tape.outputs:
        raise ModelError(f"{type(model).__name__} returns no tensor, so there is nothing to keep equal.")
    tensors = named_tensors(model)
    info = TensorInfo(
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        frozenset(name for name, _ in model.named_parameters()),
    )
    training, notes = _training_tape(model, example_input, tape, info)
    if tape.selection is not None:
        first = tape.calls[tape.selection.index]
        notes.append(
            f"Elements are selected by their values from {first.title} on ({first.module or 'the model'}, "
            f"{first.source}): layers behind stay whole, and proofs compare the {len(tape.selection.kept)} tensors "
            "that go in there."
        )
    run = _Run(model, example_input, [tape, *training], info, notes)
    graph, stuck = _settle(run, walking)
    if stuck:
        # Where the features of attention heads are pinned, whole heads may go, or the features of the values alone.
        graph = max(graph, _settle(run, replace(walking, insist=True))[0], key=removable_macs)
    return graph


@dataclass(frozen=True, eq=False)
class _Run:
    """What was recorded of a model."""

    model: nn.Module
    example_input: ExampleInput
    tapes: Sequence[Tape]
    info: TensorInfo
    notes: Sequence[str]


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise ModelError(f"A {type(model).__name__} was given where a torch.nn.Module is expected.")
    lazy = next((name for name, p in model.named_parameters() if isinstance(p, UninitializedParameter)), None)
    if lazy is not None:
        raise ModelError(f"{type(model).__name__} has no shape for {lazy!r} yet. Run it once before it is traced.")


def _training_tape(
    model: nn.Module, example_input: ExampleInput, tape: Tape, info: TensorInfo
) -> tuple[list[Tape], list[str]]:
    """A second tape in training mode, if parameters exist that evaluation never reaches (auxiliary heads)."""
    reached = {ref.name for call in tape.calls for ref in call.inputs}
    missed = sorted(info.parameters - reached)
    if not missed:
        return [], []
    # Normalization in training mode needs two values per channel, which one example may not give.
    training = record(model, tree_map_only(Tensor, _doubled, example_input), training=True)
    if training.error is not None:
        return [], [
            f"{len(missed)} parameters are not reached ({missed[0]}, ...), and training mode fails on the "
            f"example input ({training.error}): a training branch that reads channels is not followed."
        ]
    return [training], []


def _doubled(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor]) if tensor.dim() else tensor


def _settle(run: _Run, walking: Walking) -> tuple[ChannelGraph, bool]:
    """Walk, try a removal, and take back what the model's code does not agree with, until it does.

    Returns the graph, and whether dimensions were chosen to shrink that cannot, while others were not tried.
    """
    choices: dict[int, int] = {}
    barriers: dict[int, int] = {}
    before = ""
    for number in range(MAX_TRIALS):
        labelers = _walk_freely(walking, run.tapes, choices)
        for index, level in barriers.items():
            labelers[0].pin_scope(run.tapes[0].calls, run.tapes[0].calls[index], level)
        evidence = Evidence(replace(run.tapes[0], result=None), labelers[0], walking.rules, dict(choices))
        graph = build_graph(labelers, run.info, evidence, run.notes)
        blamed = _try_removal(run.model, run.example_input, graph, evidence, by_line=number >= PATIENCE)
        if not blamed:
            return graph, bool(_stuck_choices(labelers))
        for index in blamed:
            choices[index] = choices.get(index, 0) + 1
        if graph.structure == before:
            # Pinning what visibly reaches the call changed nothing: the channels come by a way that no tape shows.
            barriers |= {index: barriers.get(index, -1) + 1 for index in blamed}
        before = graph.structure
    raise ModelError(
        f"{type(run.model).__name__} still disagrees with its channel labels after {MAX_TRIALS} trial removals. "
        "Please report the model; pin the layers concerned with a rule meanwhile."
    )


def _walk_freely(walking: Walking, tapes: Sequence[Tape], choices: dict[int, int]) -> list[Labeler]:
    """Walk; if wished until no choice of a dimension leaves all its channels pinned while another one is untried."""
    while True:
        labelers = walking.walk(tapes, choices)
        stuck = _stuck_choices(labelers) if walking.insist else []
        if not stuck:
            return labelers
        for index in stuck:
            choices[index] = choices.get(index, 0) + 1


def _stuck_choices(labelers: Sequence[Labeler]) -> list[int]:
    """Calls whose chosen dimension cannot shrink anyway, such as the features of attention heads: heads may."""
    lines = labelers[0].lines
    if not any(chosen + 1 < options for _, chosen, options in lines.values()):
        return []
    classes = labelers[0].store.resolve()
    pinned = np.zeros(int(classes.max()) + 1, dtype=bool)
    pinned[0] = True
    for labeler in labelers:
        for labels, _ in labeler.pins:
            pinned[classes[labels]] = True
    return [
        index
        for index, (labels, chosen, options) in lines.items()
        if chosen + 1 < options and pinned[classes[labels]].all()
    ]


def _try_removal(
    model: nn.Module, example_input: ExampleInput, graph: ChannelGraph, evidence: Evidence, by_line: bool
) -> list[int]:
    """Calls whose numbers do not follow a trial removal; empty if the copy does what the labels promise."""
    mismatch = None
    # With one channel left, PyTorch takes other paths through views and products; two settle what that is.
    for at_least in (1, 2):
        kept = trial_kept(graph, at_least)
        if not kept:
            return []
        small = sliced_copy(model, slices_of(graph, kept), attributes_of(graph, kept), share=True)
        stays = kept_labels(graph, evidence.labeler, kept)
        mismatch = compare(evidence, record(small, example_input, until=evidence.tape.selection), stays)
        if mismatch is None or not mismatch.diverges:
            break
    return _blame(evidence, mismatch, by_line) if mismatch else []


def _blame(evidence: Evidence, mismatch: Mismatch, by_line: bool) -> list[int]:
    """The call of the mismatch, and those of the same line of code, run for other blocks.

    At first only those on the same shapes, since the numbers of the others may be right; and never those that took
    another option already.
    """
    calls, taken = evidence.tape.calls, evidence.choices
    blamed = calls[min(mismatch.index, len(calls) - 1)]

    def kind(call: OpCall) -> tuple[object, ...]:
        shapes = [] if by_line else [(ref.shape, ref.name) for ref in call.inputs]
        option = min(taken.get(call.index, 0), evidence.labeler.options.get(call.index, 1))
        return call.source, call.name, call.module_kind, shapes, option

    same_line = [call for call in calls if kind(call) == kind(blamed)]
    decided = evidence.labeler.decided
    return [call.index for call in same_line if decided(call) == decided(blamed)]
