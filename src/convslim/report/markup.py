"""Elements of HTML and SVG as text that is safe by its type: only `Markup` is taken as it is, all else is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from markupsafe import Markup, escape

VOID: Final = frozenset({"br", "circle", "img", "input", "line", "path", "polygon", "polyline", "rect", "wbr"})
"""Elements without an end tag."""


def element(name: str, *children: object, **attributes: object) -> Markup:
    """One element. `class_` stands for ``class``, `data_x` for ``data-x``; an attribute that is None is left out.

    >>> element("p", "a < b ", element("b", 1), class_="lead", data_x='"')
    Markup('<p class="lead" data-x="&#34;">a &lt; b <b>1</b></p>')
    >>> element("rect", width=2.50, height=None)
    Markup('<rect width="2.5"/>')
    """
    words = [name, *(f'{_key(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)]
    start = " ".join(words)
    if name in VOID:
        return Markup(f"<{start}/>")
    return Markup(f"<{start}>{joined(children)}</{name}>")


def joined(parts: Iterable[object]) -> Markup:
    """Parts one behind the other; what is no markup is escaped.

    >>> joined(["<", element("br"), None])
    Markup('&lt;<br/>')
    """
    return Markup("").join(escape(part) for part in parts if part is not None)


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    caption: str | None = None,
    texts: int = 1,
    drawn: bool = False,
) -> Markup:
    """A table: the first `texts` columns hold texts, the others numbers, which stand right, the last one a drawing.

    >>> table(["layer", "ms"], [["conv1", 1.5]]).count('class="number"')
    2
    """
    kinds = [None if column < texts else "number" for column in range(len(headings))]
    if drawn:
        kinds[-1] = "wide"
    head = [element("th", text, scope="col", class_=kind) for text, kind in zip(headings, kinds, strict=True)]
    body = [
        element(
            "tr",
            *(
                element("td" if column else "th", cell, class_=kind, scope=None if column else "row")
                for column, (cell, kind) in enumerate(zip(row, kinds, strict=True))
            ),
        )
        for row in rows
    ]
    title = element("caption", caption) if caption else None
    return element("table", title, element("thead", element("tr", *head)), element("tbody", *body))


def scrolled(body: Markup, label: str) -> Markup:
    """Something that may be wider than its place, and is then scrolled, also by the keyboard."""
    return element("div", body, class_="scroll", tabindex=0, role="region", aria_label=label)


def bar(share: float) -> Markup:
    """A bar as long as a share, 0…1, of its place; the number stands elsewhere."""
    return element("span", class_="bar", style=f"--share:{max(0.0, min(share, 1.0)):.4f}", aria_hidden="true")


def breakable(name: str) -> Markup:
    """A dotted name, or a path, that may break behind its dots and slashes.

    >>> breakable("layer1.0")
    Markup('layer1.<wbr>0')
    """
    return Markup(re.sub(r"([./])", r"\1<wbr>", str(escape(name))))


def coordinate(value: float) -> str:
    """A length in a drawing, to a tenth.

    >>> coordinate(3.04), coordinate(2.56)
    ('3', '2.6')
    """
    return f"{value:.1f}".removesuffix(".0")


def _key(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: object) -> str:
    return str(escape(coordinate(value) if isinstance(value, float) else value))
