"""The documentation as a site: it is built without a warning, and a page asks no other server for anything."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ("index", "getting-started", "api", "benchmarks", "coverage", "examples", "faq", "peers", "scale-out")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("material", "mkdocstrings_handlers"):
        if importlib.util.find_spec(package) is None:
            pytest.skip("mkdocs-material and mkdocstrings-python are not installed")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return out


def test_every_page_is_there(site: Path):
    there = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert {f"{page}.html" for page in PAGES} <= there
    docs = {path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert {page.replace("README", "index") for page in docs} <= there


def test_public_names_have_their_docstrings(site: Path):
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in (
        "convslim.trace",
        "convslim.remove",
        "convslim.compress",
        "convslim.errors.PlanError",
        "convslim.train.fit",
    ):
        assert f"{name}</span>" in text or name in text
    assert "Find which channels of a network belong together." in text
    assert "&gt;&gt;&gt;" in text  # examples are blocks of code
    assert "<blockquote>" not in text


def test_pages_ask_no_other_server(site: Path):
    asked = [
        (page.name, found)
        for page in site.rglob("*.html")
        for found in re.findall(
            r'<(?:script|img|iframe|link)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text(encoding="utf-8")
        )
    ]
    assert asked == []


def test_words_for_the_tests_are_not_shown(site: Path):
    for page in site.rglob("*.html"):
        assert "```" not in re.sub(r"<code.*?</code>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), page.name
