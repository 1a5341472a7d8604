"""What every part of a report is."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: Its address on the page, ``#name``.
        title: Its heading.
        lead: What it shows, in a sentence or two.
        body: Everything below.
    """

    name: str
    title: str
    lead: str
    body: Markup
