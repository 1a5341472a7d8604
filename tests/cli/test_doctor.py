"""`convslim doctor` finds a whole installation whole, and says what is wrong with another."""

from __future__ import annotations

import importlib.metadata
import json

import pytest
from tests.test_cli import call

from convslim.cli import health
from convslim.cli.health import examine


def test_this_installation_is_whole():
    text = call("doctor")
    assert "half of the MACs removed and proven" in text
    assert "ONNX Runtime agrees" in text
    assert "Everything that convslim needs is there." in text


def test_json_and_quiet(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "WORKS", {})
    found = {each["what"]: each["state"] for each in json.loads(call("doctor", "--json"))}
    assert found["torch"] == "ok"
    assert call("doctor", "--quiet") == ""


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that lacks timm and SciPy, has an old NumPy, and on which nothing can be exported."""

    def version(package: str, known=importlib.metadata.version) -> str:
        if package in ("timm", "scipy"):
            raise importlib.metadata.PackageNotFoundError(package)
        return "1.26.4" if package == "numpy" else known(package)

    def broken() -> str:
        raise OSError("libexport.so: cannot open\nshared object file")

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(health, "WORKS", {"an export": broken})
    monkeypatch.setenv("CONVSLIM_DATA", "/no/such/folder")


def test_what_is_wrong_is_told_with_a_way_out(bare: None):
    found = {finding.what: finding for finding in examine()}
    assert {name for name, finding in found.items() if finding.state == "wrong"} == {
        "numpy",
        "scipy",
        "an export",
        "CONVSLIM_DATA",
    }
    assert found["numpy"].found == "1.26.4, and >=2 is needed"
    assert found["scipy"].way_out == "pip install -c constraints.txt 'scipy>=1.13'"
    assert found["an export"].found == "OSError: libexport.so: cannot open shared object file"
    assert found["timm"].state == "note"
    assert ".[timm]" in found["timm"].way_out


def test_the_exit_code_tells_programs(bare: None):
    text = call("doctor", "--quiet", code=1)
    assert len([line for line in text.splitlines() if line.startswith("WRONG")]) == 4
    assert "4 of" in call("doctor", code=1)
