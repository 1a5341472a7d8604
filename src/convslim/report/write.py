"""Reports as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from convslim.files import replace_text
from convslim.report.comparison_page import comparison_page
from convslim.report.run_files import RunFiles
from convslim.report.run_page import run_page

PAGE: Final = "report.html"
COMPARISON: Final = "comparison.html"


def write_page(run: RunFiles, path: Path) -> Path:
    """Write the page of one run.

    Raises:
        ArtifactError: the file cannot be written.
    """
    return replace_text(path, run_page(run))


def write_comparison(runs: Sequence[RunFiles], path: Path) -> Path:
    """Write one page for several runs.

    Raises:
        ArtifactError: the file cannot be written.
    """
    return replace_text(path, comparison_page(runs))
