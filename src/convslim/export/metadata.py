"""What an ONNX file says of itself: names of classes and how images are normalized, beside the graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from convslim.errors import ExportError

PREFIX = "convslim."


@dataclass(frozen=True)
class FileFacts:
    """What a user of the file has to know.

    Attributes:
        task: ``"classification"`` or ``"detection"``.
        classes: Names in the order of the outputs.
        mean, std: Per channel, for images in [0, 1].

    >>> facts = FileFacts("detection", ("cat",), (0.5,), (0.25,))
    >>> FileFacts.from_metadata(facts.to_metadata(), "f.onnx") == facts
    True
    """

    task: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_metadata(self) -> dict[str, str]:
        """Texts by key, as ONNX files hold them."""
        values = {"task": self.task, "classes": self.classes, "mean": self.mean, "std": self.std}
        return {f"{PREFIX}{name}": json.dumps(value) for name, value in values.items()}

    @classmethod
    def from_metadata(cls, texts: Mapping[str, str], name: str) -> FileFacts:
        """Read :meth:`to_metadata`'s texts.

        Args:
            name: What errors call the file.

        Raises:
            ExportError: If they are not there.
        """
        try:
            found = {key: json.loads(texts[f"{PREFIX}{key}"]) for key in ("task", "classes", "mean", "std")}
            return cls(
                str(found["task"]),
                tuple(map(str, found["classes"])),
                tuple(map(float, found["mean"])),
                tuple(map(float, found["std"])),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ExportError(
                f"{name} does not say what its outputs mean ({type(error).__name__} {error} in its metadata). Give one "
                "that step export or quantize of a run wrote."
            ) from error


def annotate(path: Path, facts: FileFacts | None) -> None:
    """Write the facts into a file; None leaves it."""
    import onnx

    if facts is None:
        return
    model = onnx.load(path)
    onnx.helper.set_model_props(model, facts.to_metadata())
    onnx.save(model, path)
