"""The page of a run in a browser: it runs without an error, asks for nothing, draws every figure, and can be walked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.report.browser import visit
from tests.report.run_samples import detection, record, write

from convslim.report.comparison_page import comparison_page
from convslim.report.run_files import read_run, read_runs
from convslim.report.run_page import run_page

LOOK = """
  const tip = document.getElementById("tip");
  const key = (element, name) =>
    element.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
  const plots = all("svg.plot");
  seen.plots = plots.length;
  seen.figures = all("figure:not(.listed)").length;
  const box = (element) => element.getBoundingClientRect();
  seen.empty = plots.filter((plot) => !plot.querySelector(".mark")).map((plot) => plot.getAttribute("aria-label"));
  seen.flat = plots.filter((plot) => box(plot).width < 200 || box(plot).height < 60).length;
  seen.outside = all("svg.plot .mark > :not(title)").filter((mark) => {
    const place = box(mark), plot = box(mark.closest("svg"));
    return place.x < plot.x - 1 || place.right > plot.right + 1 || place.y < plot.y - 1
      || place.bottom > plot.bottom + 1;
  }).length;
  seen.clipped = all("svg.plot text").filter((text) => {
    const place = box(text), plot = box(text.closest("svg"));
    return place.x < plot.x - 1 || place.right > plot.right + 1;
  }).map((text) => text.textContent);
  seen.unnamed = all("svg[role=img]").filter((svg) => !svg.getAttribute("aria-label")).length;
  seen.titles = all("svg .mark > title").length;
  seen.hidden = tip.hidden;
  plots[0].focus();
  key(plots[0], "ArrowRight");
  seen.first = tip.textContent;
  key(plots[0], "End");
  seen.last = tip.textContent;
  key(plots[0], "Home");
  seen.home = tip.textContent;
  key(plots[0], "Escape");
  seen.closed = tip.hidden;
  const strip = document.querySelector(".strip");
  const mouse = { bubbles: true, pointerType: "mouse", clientX: 50, clientY: 50 };
  strip?.dispatchEvent(new PointerEvent("pointermove", mouse));
  seen.strip = tip.textContent;
  seen.sections = all("main section").length;
  seen.links = all("nav a").filter((link) => document.querySelector(link.getAttribute("href"))).length;
"""


@pytest.fixture(scope="module", params=["1280,900", "390,844"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("browser")
    return visit(run_page(read_run(write(folder / "run", record()))), LOOK, folder, size=request.param)


def test_no_error_no_request_no_foreign_script(seen: dict[str, Any]):
    assert seen["errors"] == []
    assert seen["requests"] == []
    assert not seen["pwned"]


def test_every_figure_is_drawn(seen: dict[str, Any]):
    assert seen["plots"] == seen["figures"] > 12
    assert seen["empty"] == []
    assert seen["flat"] == 0
    assert seen["outside"] == 0
    assert seen["clipped"] == []
    assert seen["unnamed"] == 0


def test_marks_are_walked_by_keys_and_said(seen: dict[str, Any]):
    assert seen["hidden"]
    assert seen["titles"] == 0  # the page's own tooltip took them
    assert seen["first"] == seen["home"]
    assert seen["first"].startswith("1 train: 95.00")
    assert seen["last"].startswith("8 quantize: 92.00")
    assert seen["closed"]
    assert seen["strip"] == "stem: 4 of 16 channels stayed"


def test_sections_are_linked_and_nothing_sticks_out(seen: dict[str, Any]):
    assert seen["links"] == seen["sections"] > 9
    assert seen["wide"]


@pytest.mark.parametrize("kind", ["detector", "comparison", "twelve"])
def test_other_pages(kind: str, tmp_path: Path):
    detector = write(tmp_path / "detector", record("detector", detection()))
    if kind == "detector":
        text = run_page(read_run(detector))
    elif kind == "twelve":
        folders = [write(tmp_path / f"run-{place}", record(f"run {place}")) for place in range(12)]
        text = comparison_page(read_runs(folders))
    else:
        text = comparison_page(read_runs([detector, write(tmp_path / "other", record())]))
    found = visit(text, LOOK, tmp_path)
    assert [found[name] for name in ("errors", "requests", "empty", "clipped", "outside")] == [[], [], [], [], 0]
    assert not found["pwned"]
    assert found["wide"]
