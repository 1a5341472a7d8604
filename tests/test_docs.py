"""The documentation does what it says: its code runs, its output is what is printed, its links and names exist.

Every ``python`` block of the README and of docs/ is executed, file by file, in one namespace and one temporary folder.
Blocks with another first word take part as follows:

- ``python file=NAME``, ``yaml file=NAME``: written to NAME instead.
- ``text output``: what the Python block above printed.
- ``console run``: every ``$ convslim …`` line is run; the lines below it are what it prints.

``...`` stands for anything, and white space counts as one space.
"""

import contextlib
import doctest
import importlib.util
import io
import re
import shlex
import textwrap
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from scripts.picture import draw
from typer.testing import CliRunner

from convslim import errors
from convslim.allocate import allocate
from convslim.cli import app
from convslim.criteria import CRITERIA
from convslim.data.open import OPENERS
from convslim.models import NETWORKS
from convslim.pipeline.recipe import DataSpec, ModelSpec, Recipe, builtin_recipes
from convslim.pipeline.steps import STEPS
from convslim.pipeline.steps.export import LatencyConfig
from convslim.report import RunRecord
from convslim.train import TrainConfig

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    words: list[str]
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    found = []
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^( *)```(\w[^\n]*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start(3)) + 1
        found.append(Block(match[2].split(), textwrap.dedent(match[3]), line))
    return found


def runs(words: list[str]) -> bool:
    return words[0] == "python" or words[:2] == ["console", "run"]


def check(expected: str, found: str, place: str) -> None:
    found = "\n".join(line.rstrip() for line in found.splitlines()) + "\n"
    assert doctest.OutputChecker().check_output(expected, found, OPTIONS), (
        f"{place} promises\n{expected}\nbut this was printed:\n{found}"
    )


def run_console(text: str, place: str) -> None:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        program, *arguments = shlex.split(command, comments=True)
        assert program == "convslim", f"{place}: only convslim is run, not {program}"
        result = CliRunner().invoke(app, arguments)
        wanted = int(expected.startswith("Error:"))
        assert result.exit_code == wanted, f"{place}: {command}: {result.output or result.exception!r}"
        check(expected, result.output, place)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page(page, tmp_path, monkeypatch):
    code = [text for words, text, _ in blocks(page) if runs(words)]
    if any("timm:" in text for text in code) and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # measured layers stay out of the user's own
    printed, namespace = "", {"__name__": "documentation"}
    for words, text, line in blocks(page):
        place = f"{page.relative_to(ROOT)}, line {line}"
        name = next((word.removeprefix("file=") for word in words if word.startswith("file=")), None)
        if name:
            Path(name).write_text(text, encoding="utf-8")
        elif words[0] == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                # Line numbers as in the page, so that a traceback points at it.
                exec(compile("\n" * (line - 1) + text, str(page), "exec"), namespace)
            printed = out.getvalue()
        elif words[:2] == ["text", "output"]:
            check(text, printed, place)
        elif words[:2] == ["console", "run"]:
            run_console(text, place)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


def keys(schema: Any) -> list[str]:
    """Keys of a configuration, without those it has from `TrainConfig`, which a page of its own describes."""
    inherited = TrainConfig.model_fields if issubclass(schema, TrainConfig) and schema is not TrainConfig else ()
    return [key for key in schema.model_fields if key not in inherited]


NAMES = {
    "README.md": [*CRITERIA],
    "docs/errors-and-limits.md": [name for name in vars(errors) if name.endswith("Error")],
    "docs/recipes.md": [
        *STEPS,
        *CRITERIA,
        *(key for step in STEPS.values() if step.config is not TrainConfig for key in keys(step.config)),
        *(key for schema in (Recipe, ModelSpec, DataSpec, LatencyConfig) for key in keys(schema)),
    ],
    "docs/train.md": keys(TrainConfig),
    "docs/your-model-and-data.md": [*(name for name in NETWORKS if "_b" not in name), *OPENERS],
    "docs/prune-in-python.md": [
        name for name in allocate.__annotations__ if name not in ("return", "graph", "scores", "budget")
    ],
    "docs/getting-started.md": [*builtin_recipes()],
    "docs/decisions/0007-order-of-the-layers.md": [layer.strip("()") for layer in LINTER["contracts"][0]["layers"]],
}


@pytest.mark.parametrize("page", NAMES)
def test_reference_names_everything(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    words = set(re.findall(r"[\w-]+", text))
    assert [name for name in NAMES[page] if name not in words] == []


def test_every_page_is_linked_from_the_readme():
    linked = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [page.name for page in PAGES[1:] if page.parent.name == "docs" and f"docs/{page.name}" not in linked]
    assert missing == []


@pytest.mark.parametrize("name", ["demo", "gfr"])
def test_picture_shows_its_record(name):
    folder = ROOT / "docs" / "pictures"
    assert (folder / f"{name}.svg").read_text(encoding="utf-8") == draw(RunRecord.load(folder / f"{name}.json"))
