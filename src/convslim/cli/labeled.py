"""Two networks on the same labeled test images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convslim.data import Split
from convslim.train.evaluate import evaluating
from convslim.train.forward import logits
from convslim.train.progress import progress


@dataclass(frozen=True, eq=False)
class Answers:
    """Highest class and label of every image, int64 (N,)."""

    classes: Tensor
    labels: Tensor


def answers(network: nn.Module, split: Split, *, quiet: bool) -> Answers:
    """What a network says of all images, in float32 and evaluation mode.

    Raises:
        DataError: a label lies outside the classes of the network.
        ModelError: the network fails on a batch, or does not give one score per class.
    """
    batches = split.batches(256)
    found = []
    with evaluating(network), torch.inference_mode(), progress("evaluate", len(batches), quiet=quiet) as advance:
        for images, labels in batches:
            found.append((logits(network, images, labels).argmax(1), labels))
            advance("")
    classes, labels = (torch.cat(part) for part in zip(*found, strict=True))
    return Answers(classes, labels)


def compared(before: Answers, after: Answers) -> dict[str, int]:
    """On how many images both were right, and on how many they agree."""
    return {
        "total": len(before.labels),
        "correct_before": int((before.classes == before.labels).sum()),
        "correct": int((after.classes == after.labels).sum()),
        "agreed": int((before.classes == after.classes).sum()),
    }
