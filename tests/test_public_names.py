"""The public names and their signatures are those that were reviewed."""

import difflib
from importlib.resources import files
from pathlib import Path

from scripts.signatures import described

import convslim

REVIEWED = Path(__file__).parent / "public_names.txt"


def test_signatures_are_the_reviewed_ones():
    reviewed, found = REVIEWED.read_text(encoding="utf-8").splitlines(), list(described())
    changes = [
        line
        for line in difflib.unified_diff(reviewed, found, lineterm="", n=0)
        if not line.startswith(("---", "+++", "@@"))
    ]
    assert changes == [], "Review the change, then: python scripts/signatures.py > tests/public_names.txt"


def test_every_promised_name_is_there_and_listed():
    assert {name for name in convslim.__all__ if not hasattr(convslim, name)} == set()
    assert set(convslim.__all__) <= set(dir(convslim))


def test_the_package_is_typed():
    assert files("convslim").joinpath("py.typed").is_file()
