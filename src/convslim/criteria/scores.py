"""The result of scoring: one number per channel of every group."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convslim.errors import ArtifactError

_KEYS = {"criterion", "structure", "values", "unscored"}


@dataclass(frozen=True, eq=False)
class Scores:
    """How important every channel of every prunable group is.

    Attributes:
        criterion: Name of the criterion.
        structure: Hash of the graph that the scores belong to.
        values: Scores by group name, each of shape ``(num_channels,)``, float64; higher = more important.
        unscored: Prunable groups of which the criterion could say nothing; they are never cut.

    >>> scores = Scores("l1", "3f", {"conv1": np.array([0.5, 2.0])})
    >>> Scores.from_json(scores.to_json()).values["conv1"]
    array([0.5, 2. ])
    """

    criterion: str
    structure: str
    values: Mapping[str, npt.NDArray[np.float64]]
    unscored: tuple[str, ...] = ()

    def only(self, groups: Collection[str]) -> Scores:
        """The scores of some groups; the others count as unscored and stay whole."""
        values = {name: values for name, values in self.values.items() if name in groups}
        others = tuple(name for name in self.values if name not in groups)
        return Scores(self.criterion, self.structure, values, (*self.unscored, *others))

    def to_json(self) -> str:
        """The scores as JSON text; reading it back gives the same numbers to the last bit."""
        record = {
            "criterion": self.criterion,
            "structure": self.structure,
            "values": {name: values.tolist() for name, values in self.values.items()},
            "unscored": list(self.unscored),
        }
        return json.dumps(record, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Scores:
        """The scores that :meth:`to_json` wrote.

        Raises:
            ArtifactError: If the text is not such a record.
        """
        try:
            record = json.loads(text)
            if set(record) != _KEYS:
                raise ValueError(f"the keys are {sorted(record)}, not {sorted(_KEYS)}")
            values = {str(name): np.array(numbers, np.float64) for name, numbers in record["values"].items()}
            return cls(str(record["criterion"]), str(record["structure"]), values, tuple(record["unscored"]))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ArtifactError(f"This is not a record of scores: {error}. Write it with Scores.to_json.") from error
