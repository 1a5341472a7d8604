"""What the documentation site has beyond docs/: a hook of MkDocs, named in mkdocs.yml.

Pages of the repository that stand elsewhere (README, benchmarks, examples …) become pages of the site, links between
all of them follow, and links to code become plain text, for the site knows no place where the code can be browsed. The
page of the Python names is made of the names that the packages export.
"""

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/coverage.md": "coverage.md",
    "benchmarks/scaling.svg": "pictures/scaling.svg",
}
"""Files outside docs/, by the name that they get on the site."""
PACKAGES = (
    "convslim",
    "convslim.data",
    "convslim.errors",
    "convslim.export",
    "convslim.models",
    "convslim.pipeline",
    "convslim.quantize",
    "convslim.report",
    "convslim.train",
)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *```)(\w+) (?:file=(\S+)|\w+)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Bring the other pages in."""
    for path, name in ELSEWHERE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    files.append(File.generated(config, "api.md", content="\n".join(_names())))
    for page in sorted((ROOT / "docs" / "decisions").glob("0*.md")):
        file = files.get_file_from_path(f"decisions/{page.name}")
        assert file is not None, "MkDocs has read docs/"
        file.inclusion = file.inclusion.NOT_IN_NAV  # the list of decisions links to them
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where things stand on the site, and leave out words of code blocks that only the tests read."""
    source = page.file.src_uri
    place = next((path for path, name in ELSEWHERE.items() if name == source), f"docs/{source}")
    markdown = FENCE.sub(lambda found: found[1] + found[2] + (f' title="{found[3]}"' if found[3] else ""), markdown)
    return LINK.sub(lambda found: _led(found, place, source, files), markdown)


def _led(found: re.Match[str], place: str, source: str, files: Files) -> str:
    """A link of a page that stands at `place` in the repository and at `source` on the site."""
    image, text, target = found.groups()
    path, _, anchor = target.partition("#")
    if not path or ":" in path:
        return found[0]
    there = posixpath.normpath(posixpath.join(posixpath.dirname(place), path))
    name = "decisions/README.md" if there == "docs/decisions" else ELSEWHERE.get(there, there.removeprefix("docs/"))
    if files.get_file_from_path(name) is None or (there not in ELSEWHERE and not there.startswith("docs")):
        return text
    led = posixpath.relpath(name, posixpath.dirname(source) or ".")
    return f"{image}[{text}]({led}{'#' if anchor else ''}{anchor})"


def _names() -> Iterator[str]:
    """The page of the Python names: what each package exports, in the words of its docstrings."""
    yield "# Python\n\nWhat `import convslim` and its packages offer. Everything else may change without notice."
    for package in PACKAGES:
        yield f"\n## `{package}`\n"
        for name, place in exported(package).items():
            yield f"::: {place}\n    options: {{heading: {package}.{name}, toc_label: {name}}}\n"


def exported(package: str) -> dict[str, str]:
    """The names that a package exports, and where each stands; of a module all classes."""
    tree = _tree(package)
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and isinstance(target, ast.Name) and target.id == "__all__":
            names = [str(name) for name in ast.literal_eval(node.value)]
            return {name: place for name in names if (place := _place(package, name))}
    return {node.name: f"{package}.{node.name}" for node in tree.body if isinstance(node, ast.ClassDef)}


def _place(module: str, name: str) -> str | None:
    """Where a name is defined that a module has; None for a package that is exported."""
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module and any(each.name == name for each in node.names):
            inside = ROOT.joinpath("src", *node.module.split("."), name)
            return None if inside.is_dir() else _place(node.module, name)
    return f"{module}.{name}"


def _tree(module: str) -> ast.Module:
    path = ROOT.joinpath("src", *module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))
