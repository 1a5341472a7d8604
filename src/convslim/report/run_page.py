"""One offline HTML page that shows a run to people: made of its record and plan alone, without PyTorch.

The page asks for nothing over the network, and its own policy forbids it to. Everything that came from outside – names,
reasons, recipes – is escaped by the template or by :func:`~convslim.report.markup.element`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import convslim
from convslim.errors import ArtifactError
from convslim.report.run_files import RunFiles
from convslim.report.sections.channels import channels
from convslim.report.sections.classes import classes
from convslim.report.sections.confusions import confusions
from convslim.report.sections.headline import headline, sentence
from convslim.report.sections.latency import latency
from convslim.report.sections.origin import origin
from convslim.report.sections.pins import pins
from convslim.report.sections.proofs import proofs
from convslim.report.sections.quantization import quantization
from convslim.report.sections.samples import samples
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
    confusions,
    samples,
    pins,
    proofs,
    origin,
)
"""The parts of the page, in order."""


def run_page(run: RunFiles) -> str:
    """The page of one run as HTML text.

    Raises:
        ArtifactError: the record does not make sense.
    """
    with readable(run.name):
        head = {"sentence": sentence(run), "headline": headline(run)}
        sections = [section for make in SECTIONS if (section := make(run)) is not None]
    return filled(
        title=run.name,
        kicker="convslim run",
        **head,
        sections=sections,
        source="the run's record and plan",
        record=run.record.model_dump_json(),
    )


@contextmanager
def readable(name: str) -> Iterator[None]:
    """A record is valid JSON of the right keys; what steps tell in their details may still be anything."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"The record of {name} is damaged: {type(error).__name__}: {error}. Copy the run's folder again, or "
            "--resume it."
        ) from error


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
