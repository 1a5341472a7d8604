"""Lines that a benchmark keeps, one JSON object a run, and how several seeds are shown."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any


def known(file: Path) -> list[dict[str, Any]]:
    """The lines of a file; none if it is not there."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def spread(lines: list[dict[str, Any]], key: str) -> str:
    """Mean and standard deviation of what some of the lines have, where there are several; a dash where none has it."""
    values = [line[key] for line in lines if key in line]
    if not values:
        return "–"
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"
