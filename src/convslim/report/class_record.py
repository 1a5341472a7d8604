"""What a step's record says of classes: precision of a detector's, confusions of a classifier's, and single images."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator


class Facts(BaseModel):
    """Base of all records: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassRecord(Facts):
    """One class of a detector: its average precision, and up to 100 points of its curve, the surest detections first.

    `average_precision` is the area under the precision-recall curve, `eleven_point` the mean precision at recall 0,
    0.1, …, 1; None if none of the `num_objects` counts. Point i of the curve takes all detections with `scores[i]` or
    more.
    """

    name: str
    average_precision: float | None
    eleven_point: float | None
    num_objects: int
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    scores: tuple[float, ...]


class ConfusionRecord(Facts):
    """What a classifier took the test images for, class by class.

    Attributes:
        names: Of the classes, by label.
        totals, right: Images of every class, and how many of them had the right answer.
        pairs: (label, answer, images) of wrong answers, the most frequent first: all of up to 100 classes, the 100 most
            frequent of more.
        since: Number of the step that the answers are compared with, the first evaluation of the whole network; None
            without one on the same images.
        lost, won: Images of every class that were right then and are wrong now, and the other way round.
    """

    names: tuple[str, ...]
    totals: tuple[NonNegativeInt, ...]
    right: tuple[NonNegativeInt, ...]
    pairs: tuple[tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt], ...] = ()
    since: int | None = None
    lost: tuple[NonNegativeInt, ...] = ()
    won: tuple[NonNegativeInt, ...] = ()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        size, compared = len(self.names), self.since is not None
        parts = (self.totals, self.right, *((self.lost, self.won) if compared else ()))
        if any(len(counts) != size for counts in parts) or any(label >= size for label, *_ in self.pairs):
            raise ValueError(f"there must be counts of {size} classes")
        if any(right > total for right, total in zip(self.right, self.totals, strict=True)):
            raise ValueError("no class can have more right answers than images")
        if compared and any(sum(row[:2]) > row[2] for row in zip(self.lost, self.won, self.totals, strict=True)):
            raise ValueError("no class can have more changed answers than images")
        return self

    def name(self, answer: int) -> str:
        """The class that an answer means; a network may have more outputs than the data has classes."""
        return self.names[answer] if answer < len(self.names) else f"output {answer}"


class SampleRecord(Facts):
    """A test image whose answer changed between the whole network and this step's: which, and how it looks.

    `index` is its place among the test images; `label`, `before` and `after` are classes; `picture` is a PNG image as
    a `data:` address.
    """

    index: NonNegativeInt
    label: NonNegativeInt
    before: NonNegativeInt
    after: NonNegativeInt
    picture: str = Field(pattern=r"^data:image/png;base64,[A-Za-z0-9+/]+=*$")
