"""Where the numbers come from, and how to get them again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import yaml
from markupsafe import Markup

from convslim.report.markup import element, joined, scrolled, table
from convslim.report.numbers import byte_text
from convslim.report.record import RunRecord
from convslim.report.run_files import RunFiles
from convslim.report.sections.section import Section


def origin(run: RunFiles) -> Section:
    """The section."""
    record = run.record
    text = recipe_text(record)
    parts = [
        element("h3", "Run it again"),
        element(
            "p",
            "Save the recipe below under the name that the command has. With the same versions and number of "
            "threads a CPU gives the same bits; times and other processors differ.",
        ),
        _copied("commands", "\n".join(commands(record))),
        element("h3", "Versions and machine"),
        scrolled(table(["what", "which"], list(_origins(run)), texts=2), "Versions and machine"),
        _notes(record),
        element("h3", "Recipe, with all defaults filled in"),
        _copied("recipe", text),
    ]
    return Section("origin", "Where the numbers come from", "", joined(parts))


def recipe_text(record: RunRecord) -> str:
    """The recipe as YAML."""
    return yaml.safe_dump(record.recipe, sort_keys=False, allow_unicode=True, width=100)


def commands(record: RunRecord) -> Iterator[str]:
    """Commands that carry the recipe out with the same versions."""
    pinned = {name: version.partition("+")[0] for name, version in record.versions.items()}
    packages = [f"{name}=={version}" for name, version in pinned.items() if name not in ("python", "torch")]
    yield f"# Python {pinned.get('python', '3.11')}"
    if "torch" in pinned:
        yield f"pip install torch=={pinned['torch']}"
    yield f"pip install {' '.join(packages)}"
    for name in sorted(set(re.findall(r"\$\{(\w+)\}", str(record.recipe)))):
        yield f"export {name}=…  # used by the recipe"
    name = re.sub(r"[^\w.-]+", "-", record.name).strip("-.") or "recipe"
    yield shlex.join(["convslim", "run", f"{name}.yaml", "--out", f"runs/{name}-again"])


def _copied(name: str, text: str) -> Markup:
    button = element("button", "Copy", type="button", data_copy=name)
    return joined([button, element("pre", element("code", text, id=name), tabindex=0)])


def _origins(run: RunFiles) -> Iterator[tuple[str, str]]:
    record = run.record
    yield "seed", str(record.seed)
    yield "processor", f"{record.machine.cpu}, {record.machine.cores} cores, {record.machine.system}"
    if record.machine.accelerator:
        yield "accelerator", record.machine.accelerator
    yield from record.versions.items()
    yield from ((name, byte_text(size)) for name, size in run.sizes.items())


def _notes(record: RunRecord) -> Markup | None:
    """What was odd in the data's files."""
    if not record.data_notes:
        return None
    return joined(
        [element("h3", "Notes on the data"), element("ul", *(element("li", note) for note in record.data_notes))]
    )
