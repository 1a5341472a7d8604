"""The public names with their signatures, as text that is reviewed when it changes: tests/public_names.txt.

python scripts/signatures.py > tests/public_names.txt
"""

import importlib
import inspect
import re
import sys
from collections.abc import Iterator

MODULES = (
    "convslim",
    "convslim.data",
    "convslim.errors",
    "convslim.export",
    "convslim.models",
    "convslim.pipeline",
    "convslim.quantize",
    "convslim.report",
    "convslim.surgery",
    "convslim.train",
)


def described() -> Iterator[str]:
    """One line a name, and one a public method or property of a class."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        names = getattr(module, "__all__", [name for name in vars(module) if _own(module, name)])
        for name in sorted(names):
            yield from _lines(f"{module_name}.{name}", getattr(module, name))


def _own(module: object, name: str) -> bool:
    return not name.startswith("_") and getattr(getattr(module, name), "__module__", "") == getattr(
        module, "__name__", None
    )


def _lines(name: str, value: object) -> Iterator[str]:
    if inspect.ismodule(value):
        yield f"{name}: module"
    elif inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"{name}: class({bases}){_signature(value)}"
        for key, member in sorted(vars(value).items()):
            if not key.startswith("_"):
                yield from _member(f"{name}.{key}", member)
    elif callable(value):
        yield f"{name}{_signature(value)}"
    else:
        yield f"{name}: {type(value).__name__}"


def _member(name: str, member: object) -> Iterator[str]:
    if isinstance(member, property):
        yield f"{name}: property"
    elif isinstance(member, classmethod | staticmethod):
        yield f"{name}{_signature(member.__func__)}"
    elif inspect.isfunction(member):
        yield f"{name}{_signature(member)}"


def _signature(value: object) -> str:
    """Without what differs from Python to Python: addresses, and quotes of annotations that are not evaluated."""
    assert callable(value)
    try:
        text = str(inspect.signature(value))
    except ValueError:
        return "(...)"
    return re.sub(r" at 0x[0-9a-f]+", "", text).replace("'", "")


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in described()))
