"""The page in a browser: it runs without an error, asks for nothing, and does what its controls say.

The page is driven by a script that is put into a copy of it and writes what it saw into the document. Set
CONVSLIM_BROWSER to a Chromium that is not on the path.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from tests.report.graph_samples import everything

from convslim.report import graph_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

WATCH = """<script>
const seen = { errors: [], requests: [] };
addEventListener("error", (event) => seen.errors.push(String(event.message)));
addEventListener("unhandledrejection", (event) => seen.errors.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => seen.requests.push(event.blockedURI));
for (const level of ["error", "warn"]) console[level] = (...words) => seen.errors.push(words.join(" "));
</script>"""

DRIVE = """<script>
addEventListener("load", () => setTimeout(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const title = () => document.querySelector("#details h3")?.textContent;
  const click = (element) => element.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
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
  seen.pwned = typeof pwned !== "undefined";
  seen.wide = document.documentElement.scrollWidth <= innerWidth;
  seen.requests.push(...performance.getEntriesByType("resource").map((entry) => entry.name));
  document.body.append(Object.assign(document.createElement("pre"), { id: "seen", textContent: JSON.stringify(seen) }));
}, 50));
</script>"""


def browser() -> str:
    found = os.environ.get("CONVSLIM_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the path, and CONVSLIM_BROWSER is not set")
    return found


def visit(text: str, folder: Path, size: str = "1280,900", fragment: str = "") -> dict[str, Any]:
    """What the driving script saw on a page."""
    program, page = browser(), folder / "page.html"
    page.write_text(text.replace("<title>", f"{WATCH}<title>", 1).replace("</body>", f"{DRIVE}</body>"), "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    options += [f"--user-data-dir={folder / 'profile'}", f"--window-size={size}", "--virtual-time-budget=4000"]
    result = subprocess.run(
        [program, *options, "--dump-dom", page.as_uri() + fragment], capture_output=True, text=True, timeout=120
    )
    found = re.search(r'<pre id="seen">(.*?)</pre>', result.stdout, re.DOTALL)
    assert found, f"{program} ended with {result.returncode}: {result.stderr[-2000:]}"
    return json.loads(unescape(found[1]))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return visit(graph_page(everything()), tmp_path_factory.mktemp("browser"), fragment="#node-5")


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
    seen = visit(graph_page(everything()).replace("<header>", f"<header>{bad}"), tmp_path)
    assert len(seen["errors"]) == 1
    assert "http://127.0.0.1:9/x.png" in seen["requests"]
