"""Class by class: what a step's network has right, what it takes for what, and what changed since the whole network."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from convslim.pipeline.folder import MODEL, RunFolder
from convslim.pipeline.predictions import Predictions, load_predictions
from convslim.pipeline.samples import samples
from convslim.pipeline.state import Context
from convslim.report.class_record import ConfusionRecord

ALL_PAIRS: Final = 100
"""Classes up to which all confusions are recorded, and how many of more classes."""


def class_fields(
    now: Predictions | None, folder: RunFolder, context: Context, *, compressed: bool, num_samples: int
) -> dict[str, Any]:
    """The fields of a step's record that speak of classes; none where the task has no answers.

    Args:
        compressed: Whether the network is cut or quantized; only then images are taken whose answer changed.
        num_samples: How many of them at most.

    Raises:
        ArtifactError: a file of an earlier step is damaged.
    """
    if now is None:
        return {}
    since, before = _reference(folder, context)
    fields: dict[str, Any] = {"confusion": confusion(now, context.source.classes, before, since)}
    if before is not None and compressed:
        fields["samples"] = samples(now, before, context.source.test, num_samples)
    return fields


def _reference(folder: RunFolder, context: Context) -> tuple[int | None, Predictions | None]:
    """The first evaluation, if channels were still whole."""
    for number, record in enumerate(context.finished, start=1):
        if record.measured is not None:
            finished = folder.finished(number, record.kind)
            whole = not (finished / MODEL / "plan.json").exists()
            return (number, load_predictions(finished)) if whole else (None, None)
    return None, None


def confusion(
    now: Predictions, names: tuple[str, ...], before: Predictions | None, since: int | None
) -> ConfusionRecord:
    """Counts by class.

    Args:
        now: Answers of this step's network.
        names: Of the classes, by label.
        before: Answers of the whole network; looked at if they are of the same images.
        since: The step that gave them.
    """
    size = max(len(names), int(now.labels.max()) + 1)
    right = now.labels == now.answers
    changes: dict[str, Any] = {}
    if before is not None and torch.equal(before.labels, now.labels):
        was = before.labels == before.answers
        changes = {
            "since": since,
            "lost": _by_class(now, was & ~right, size),
            "won": _by_class(now, ~was & right, size),
        }
    return ConfusionRecord(
        names=(*names, *(str(label) for label in range(len(names), size))),
        totals=_by_class(now, torch.ones_like(right), size),
        right=_by_class(now, right, size),
        pairs=_pairs(now, ~right, size),
        **changes,
    )


def _by_class(now: Predictions, which: Tensor, size: int) -> tuple[int, ...]:
    return tuple(torch.bincount(now.labels[which], minlength=size).tolist())


def _pairs(now: Predictions, wrong: Tensor, size: int) -> tuple[tuple[int, int, int], ...]:
    """Wrong answers, the most frequent first."""
    found, counts = torch.unique(torch.stack([now.labels[wrong], now.answers[wrong]]), dim=1, return_counts=True)
    rows = zip(found[0].tolist(), found[1].tolist(), counts.tolist(), strict=True)
    ordered = sorted(rows, key=lambda row: (-row[2], row[0], row[1]))
    return tuple(ordered if size <= ALL_PAIRS else ordered[:ALL_PAIRS])
