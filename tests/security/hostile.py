"""Files that try to do harm; each leaves a canary if it gets its way."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

CANARY = "canary"


class Payload:
    """Unpickled, it runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


def pickled(protocol: int = 2) -> bytes:
    return pickle.dumps({"state_dict": {"weight": Payload()}}, protocol=protocol)


YAML_TAGS = [
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    f"!!python/object/new:os.system ['touch {CANARY}']",
    "!!python/name:os.system",
    "!!python/module:os",
    f"!!python/object/apply:subprocess.call [['touch', '{CANARY}']]",
]


def yaml_bomb(levels: int = 9) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


XML_BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a0 "x">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    + "]><annotation>&a9;</annotation>"
)
XML_FILE = '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>'

CODE = f"""
import pathlib
pathlib.Path({CANARY!r}).touch()


def make(**options):
    from convslim.models import create
    return create("digits_cnn")
"""


def no_canary(folder: Path) -> bool:
    return not (folder / CANARY).exists() and not Path(CANARY).exists()
