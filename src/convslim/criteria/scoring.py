"""Scoring a whole model: weights, gradients or feature maps for the criterion that needs them, and the checks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from convslim.channels.graph import ChannelGraph, ChannelGroup
from convslim.channels.program.layers import CONSTANTS
from convslim.channels.tape import named_tensors
from convslim.criteria import reconstruction
from convslim.criteria.activations import ActivationCriterion
from convslim.criteria.criterion import Criterion
from convslim.criteria.gradients import Loss, gradients
from convslim.criteria.observing import observe
from convslim.criteria.scores import Scores
from convslim.criteria.table import AnyCriterion, named
from convslim.errors import DataError, ModelError, PlanError


def score(
    graph: ChannelGraph,
    model: nn.Module,
    criterion: str | AnyCriterion,
    *,
    options: Mapping[str, Any] | None = None,
    batches: Iterable[tuple[Any, Any]] | None = None,
    loss: Loss | None = None,
    seed: int = 0,
) -> Scores:
    """Score every channel of every prunable group.

    Args:
        graph: The model's channel graph.
        model: The model, left as found; it runs in evaluation mode, and frozen parameters have gradients too.
        criterion: A name from :data:`NAMES`, or a criterion of your own.
        options: Of the named criterion, ``{"difference": "cosine"}``.
        batches: Pairs (inputs, targets) on the model's device. Criteria that need gradients take their mean over
            batches; those that look at feature maps, and ``"reconstruction"``, do not look at the targets. Inputs are a
            tensor, a tuple of positional or a dict of keyword arguments.
        loss: ``loss(outputs, targets) -> scalar``; cross-entropy unless given.
        seed: Fixes criteria that draw random numbers.

    Raises:
        PlanError: If there is no such criterion or option, or the graph is not this model's.
        DataError: If the criterion needs gradients or feature maps and there are no batches.
        ModelError: If nothing can be scored, the model fails on a batch, or the scores are not finite.

    >>> from convslim.channels.trace import trace
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> _ = net[1].weight.data.copy_(torch.tensor([0.5, -2.0, 1.0, 0.25]))
    >>> score(trace(net, torch.zeros(1, 1, 8, 8)), net, "bn_scale").values["0"]
    array([0.5 , 2.  , 1.  , 0.25])
    """
    tensors = named_tensors(model)
    if criterion == reconstruction.NAME and not options:
        _check_model(graph, tensors)
        return reconstruction.error_curves(graph, model, [inputs for inputs, _ in batches or ()]).scores()
    chosen = _find(criterion, options)
    _check_model(graph, tensors)
    if isinstance(chosen, ActivationCriterion):
        values = _score_maps(graph, chosen, model, batches or ())
    else:
        values = _score_tensors(graph, chosen, model, batches or (), loss, seed)
    unscored = tuple(group.name for group in graph.prunable if group.name not in values)
    if unscored and not values:
        raise ModelError(
            f"Criterion {chosen.name!r} can score none of the {len(unscored)} prunable groups, "
            f"for example {unscored[0]!r}; use one that looks at the filters, such as 'l1'."
        )
    return Scores(chosen.name, graph.structure, values, unscored)


def _find(criterion: str | AnyCriterion, options: Mapping[str, Any] | None) -> AnyCriterion:
    if isinstance(criterion, str):
        return named(criterion, options)
    if options:
        raise PlanError(
            f"Options {', '.join(options)} were given beside the criterion {criterion.name!r}; they belong to names. "
            "Give them to the function that makes the criterion."
        )
    return criterion


def _score_maps(
    graph: ChannelGraph, criterion: ActivationCriterion, model: nn.Module, batches: Iterable[tuple[Any, Any]]
) -> dict[str, npt.NDArray[np.float64]]:
    seen = observe(graph, model, criterion, (inputs for inputs, _ in batches))
    values = {}
    with torch.no_grad():
        for group in graph.prunable:
            scores = criterion.function(group, seen[group.name]) if group.name in seen else None
            if scores is not None:
                values[group.name] = _checked(scores, group, criterion)
    return values


def _score_tensors(
    graph: ChannelGraph,
    criterion: Criterion,
    model: nn.Module,
    batches: Iterable[tuple[Any, Any]],
    loss: Loss | None,
    seed: int,
) -> dict[str, npt.NDArray[np.float64]]:
    tensors = named_tensors(model)
    if criterion.needs_gradients:
        per_batch = gradients(model, batches, loss or nn.functional.cross_entropy)
        parts = [_score_groups(graph, criterion, tensors, batch, seed) for batch in per_batch]
    else:
        parts = [_score_groups(graph, criterion, tensors, None, seed)]
    if not parts:
        raise DataError(
            f"Criterion {criterion.name!r} needs gradients, and no batch was given; "
            "pass batches=[(inputs, targets), ...], a few hundred training samples in all."
        )
    return {name: np.stack([part[name] for part in parts]).mean(0) for name in parts[0]}


def _check_model(graph: ChannelGraph, tensors: Mapping[str, Tensor]) -> None:
    for name, shape in graph.tensors.items():
        if name.partition(".")[0] == CONSTANTS and graph.way == "graph":
            continue  # tensors that the model's code makes; only its graph holds them
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != tuple(shape):
            raise PlanError(
                f"The graph is not this model's: {name!r} has the shape {tuple(shape)} in the graph and "
                f"{found or 'does not exist'} in the model. Trace the model again."
            )


def _score_groups(
    graph: ChannelGraph,
    criterion: Criterion,
    tensors: Mapping[str, Tensor],
    batch: Mapping[str, Tensor] | None,
    seed: int,
) -> dict[str, npt.NDArray[np.float64]]:
    values = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for group in graph.prunable:
            torch.default_generator.manual_seed(_seed_of(seed, group.name))
            scores = criterion.function(group, tensors, batch)
            if scores is not None:
                values[group.name] = _checked(scores, group, criterion)
    return values


def _seed_of(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _checked(scores: Tensor, group: ChannelGroup, criterion: AnyCriterion) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = scores.detach().cpu().double().numpy()
    if values.shape != (group.num_channels,):
        raise ModelError(
            f"Criterion {criterion.name!r} gave group {group.name!r} scores of shape {values.shape}; "
            f"one per channel is wanted, ({group.num_channels},)."
        )
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise ModelError(
            f"Criterion {criterion.name!r} gave channel {wrong[0]} of group {group.name!r} the score "
            f"{values[wrong[0]]}, and scores must be finite. Look for NaN or infinite values in the weights "
            f"of {', '.join(group.producers) or 'the model'}, in the images, or in the loss."
        )
    return values
