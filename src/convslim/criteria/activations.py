"""Criteria that look at feature maps: a statistic of one batch, statistics that add up, scores of their sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import torch
from torch import Tensor

from convslim.channels.graph import ChannelGroup
from convslim.errors import PlanError, nearest

Over = Literal["mean", "sum", "max"]


class Mergeable(Protocol):
    """A statistic of some images; that of more images is the merged one."""

    def merge(self, other: Any, /) -> Any:
        """The statistic of the images of both."""
        ...


@dataclass(frozen=True)
class ActivationCriterion:
    """A way to tell from their feature maps which channels matter.

    The calibration images pass the network once. Wherever a group's maps are read, see
    :func:`convslim.criteria.places.places`, ``look`` makes a small record of each batch; records of several batches are
    merged, so that memory does not grow with the number of images.

    Attributes:
        name: What records and reports call it.
        look: The statistic of one batch at one place. It gets the maps, shape ``(N, C, *positions)``: image, channel of
            the group, and the positions where the channel's values stand (H, W of a feature map; tokens; none).
        function: Scores, ``(C,)`` float64, higher = more important, from one merged statistic per place; None if
            nothing can be said of the group.
        citation: Who published it, and where.
    """

    name: str
    look: Callable[[Tensor], Mergeable]
    function: Callable[[ChannelGroup, Sequence[Any]], Tensor | None]
    citation: str


@dataclass(frozen=True, eq=False)
class Average:
    """Mean over images of one number per channel.

    Attributes:
        images: How many.
        total: Sum over them, ``(C,)`` float64.

    >>> one, two = Average.of(torch.tensor([[1.0, 2.0]])), Average.of(torch.tensor([[3.0, 2.0], [5.0, 5.0]]))
    >>> one.merge(two).finish()
    tensor([3., 3.], dtype=torch.float64)
    """

    images: int
    total: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Average:
        """Of numbers ``(N, C)``, one row per image."""
        return cls(len(values), values.double().sum(0))

    def merge(self, other: Average) -> Average:
        """Of the images of both."""
        return Average(self.images + other.images, self.total + other.total)

    def finish(self) -> Tensor:
        """The mean, ``(C,)`` float64."""
        return self.total / self.images


OVER: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "mean": lambda values: values.mean(0),
    "sum": lambda values: values.sum(0),
    "max": lambda values: values.amax(0),
}
"""How the scores of a group's places, ``(places, C)``, become one."""


def averaged(name: str, measure: Callable[[Tensor], Tensor], citation: str, over: Over = "mean") -> ActivationCriterion:
    """``I_c`` = mean over images of ``measure(maps)[n, c]``, then ``over`` the places of coupled producers.

    Args:
        name: Of the criterion.
        measure: Maps ``(N, C, *positions)`` to numbers ``(N, C)``.
        citation: Who published it, and where.
        over: What becomes of several places: their mean, sum or max.

    Raises:
        PlanError: If there is no such ``over``.
    """
    combine = OVER[chosen("over", over, OVER)]

    def function(group: ChannelGroup, seen: Sequence[Average]) -> Tensor:
        return combine(torch.stack([average.finish() for average in seen]))

    return ActivationCriterion(name, lambda maps: Average.of(measure(maps)), function, citation)


def chosen(option: str, value: str, known: Mapping[str, object]) -> str:
    """An option's value, if it is one of the known ones.

    Raises:
        PlanError: If it is not.
    """
    if value not in known:
        raise PlanError(f"{option} is {value!r}; it is one of {', '.join(known)}.{nearest(str(value), known)}")
    return value
