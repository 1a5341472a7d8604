"""One offline HTML page that shows a run to people: made of its record and plan alone, without PyTorch.

The page asks for nothing over the network, and its own policy forbids it to. Everything that came from outside – names,
reasons, recipes – is escaped by the template or by :func:`~convslim.report.markup.element`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import convslim
from convslim.report.run_files import RunFiles
from convslim.report.sections.channels import channels
from convslim.report.sections.classes import classes
from convslim.report.sections.headline import headline, sentence
from convslim.report.sections.latency import latency
from convslim.report.sections.origin import origin
from convslim.report.sections.pins import pins
from convslim.report.sections.proofs import proofs
from convslim.report.sections.quantization import quantization
from convslim.report.sections.scores import scores
from convslim.report.sections.search import search
from convslim.report.sections.section import Section
from convslim.report.sections.steps import steps
from convslim.report.sections.training import training

SECTIONS: Final[tuple[Callable[[RunFiles], Section | None], ...]] = (
    steps,
    channels,
    scores,
    training,
    search,
    latency,
    quantization,
    classes,
    pins,
    proofs,
    origin,
)
"""The parts of the page, in order."""


def run_page(run: RunFiles) -> str:
    """The page of one run as HTML text."""
    sections = [section for make in SECTIONS if (section := make(run)) is not None]
    return filled(
        title=run.name,
        kicker="convslim run",
        sentence=sentence(run),
        headline=headline(run),
        sections=sections,
        source="the run's record and plan",
        record=run.record.model_dump_json(),
    )


def filled(**words: object) -> str:
    """The template with its words; the data of ``record`` cannot end the script that it stands in."""
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_asset("run_page.html"))
    record = str(words.pop("record")).replace("<", "\\u003c")
    return template.render(
        **words,
        record=Markup(record),
        style=Markup(_asset("page.css") + _asset("run_page.css")),
        script=Markup(_asset("run_page.js")),
        version=convslim.__version__,
    )


def _asset(name: str) -> str:
    return files("convslim.report").joinpath(name).read_text(encoding="utf-8")
