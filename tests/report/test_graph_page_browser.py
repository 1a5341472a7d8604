"""The page in a browser: it runs without an error, asks for nothing, and does what its controls say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.report.browser import visit
from tests.report.graph_samples import everything

from convslim.report import graph_page

DRIVE = """
  const title = () => document.querySelector("#details h3")?.textContent;
  const names = () => all("tbody tr").filter((row) => !row.hidden).map((row) => Number(row.dataset.number));
  const search = document.getElementById("search");
  const type = (text) => { search.value = text; search.dispatchEvent(new Event("input")); };
  seen.nodes = all("svg .node").length;
  seen.linked = title();
  click(all("svg .node")[1]);
  seen.clicked = title();
  seen.lit = all("svg .lines .near").length;
  seen.details = document.getElementById("details").textContent;
  click(document.querySelector('tbody a[href="#node-2"]'));
  seen.followed = [title(), location.hash];
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
  seen.closed = title() === undefined;
  all("svg .node")[4].focus({ focusVisible: true });
  seen.focused = title();
  all("svg .node")[4].blur();
  click(all("thead button")[1]);
  seen.sorted = [names()[0], document.querySelectorAll("thead th")[1].getAttribute("aria-sort")];
  type("net.py:3");
  seen.found = [names(), document.getElementById("found").textContent, all("svg .node.hidden").length];
  type("");
  const pinned = document.querySelector("[data-state=pinned]");
  pinned.checked = false;
  pinned.dispatchEvent(new Event("change"));
  seen.sifted = names().sort();
  const width = () => document.querySelector("#canvas svg").getBoundingClientRect().width;
  const before = width();
  click(document.querySelector("[data-zoom=in]"));
  seen.zoomed = width() / before;
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return visit(graph_page(everything()), DRIVE, tmp_path_factory.mktemp("browser"), fragment="#node-5")


def test_no_error_no_request_no_foreign_script(seen: dict[str, Any]):
    assert seen["errors"] == []
    assert seen["requests"] == []
    assert not seen["pwned"]


def test_every_group_is_drawn(seen: dict[str, Any]):
    assert seen["nodes"] == len(everything().groups)


def test_a_group_is_described_when_linked_clicked_followed_or_focused(seen: dict[str, Any]):
    assert seen["linked"] == "head"
    assert seen["clicked"] == "b.1"
    assert seen["lit"] == 2  # from the trunk, and back to it
    assert "layer normalization runs over the channels" in seen["details"]
    assert "net.py:3" in seen["details"]
    assert seen["followed"] == ["wide", "#node-2"]
    assert seen["closed"]
    assert seen["focused"] == "twice"


def test_search_states_sorting_and_zoom(seen: dict[str, Any]):
    assert seen["sorted"] == [2, "descending"]
    assert seen["found"] == [[1], "1 of 6 groups", 5]
    assert seen["sifted"] == [0, 1, 2]
    assert seen["zoomed"] == pytest.approx(1.25)


def test_nothing_sticks_out(seen: dict[str, Any]):
    assert seen["wide"]


def test_the_watch_sees_errors_and_requests(tmp_path: Path):
    bad = '<img src="http://127.0.0.1:9/x.png"><script>null.x</script>'
    seen = visit(graph_page(everything()).replace("<header>", f"<header>{bad}"), DRIVE, tmp_path)
    assert len(seen["errors"]) == 1
    assert "http://127.0.0.1:9/x.png" in seen["requests"]
