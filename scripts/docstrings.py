"""Examples in docstrings as blocks of code: an extension of griffe, which reads the docstrings for the site."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^( *)>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
ROLE = re.compile(r":(?:func|class|mod|meth|data):`~?(?:[\w.]*\.)?(\w+)`")


class Examples(griffe.Extension):
    """Fences what begins with ``>>>``, and makes code of the roles of other documentation tools."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called with every module, class, function and attribute."""
        if obj.docstring is not None:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(lambda found: f"{found[1]}```pycon\n{found[0]}\n{found[1]}```", text)
