"""Pages in a browser: driven by a script that is put into a copy of them and writes what it saw into the document.

Set CONVSLIM_BROWSER to a Chromium that is not on the path; without one these tests are skipped.
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

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

WATCH = """<script>
const seen = { errors: [], requests: [] };
addEventListener("error", (event) => seen.errors.push(String(event.message)));
addEventListener("unhandledrejection", (event) => seen.errors.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => seen.requests.push(event.blockedURI));
for (const level of ["error", "warn"]) console[level] = (...words) => seen.errors.push(words.join(" "));
</script>"""

LOOK = """<script>
addEventListener("load", () => setTimeout(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const click = (element) => element.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
  %s
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


def visit(text: str, look: str, folder: Path, size: str = "1280,900", fragment: str = "") -> dict[str, Any]:
    """What a script saw on a page; it writes into `seen`."""
    program, page = browser(), folder / "page.html"
    page.write_text(text.replace("<title>", f"{WATCH}<title>", 1).replace("</body>", f"{LOOK % look}</body>"), "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    options += [f"--user-data-dir={folder / 'profile'}", f"--window-size={size}", "--virtual-time-budget=4000"]
    result = subprocess.run(
        [program, *options, "--dump-dom", page.as_uri() + fragment], capture_output=True, text=True, timeout=120
    )
    found = re.search(r'<pre id="seen">(.*?)</pre>', result.stdout, re.DOTALL)
    assert found, f"{program} ended with {result.returncode}: {result.stderr[-2000:]}"
    return json.loads(unescape(found[1]))
