"""Call a factory in the user's own code: `pkg.mod:factory` or `path/to/file.py:factory`."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from convslim.errors import ConvslimError, nearest


def call_factory(spec: str, options: Mapping[str, Any], *, error: type[ConvslimError]) -> Any:
    """Import the user's module and call a function of it.

    Modules are looked for where Python looks and in the working directory; a file may import its neighbors.

    Args:
        spec: `pkg.mod:factory` or `path/to/file.py:factory`.
        options: keyword arguments of the factory.
        error: class of the error that is raised.

    Returns:
        What the factory returns.

    Raises:
        error: the module does not import, has no such function, or the function fails.

    >>> call_factory("fractions:Fraction", {"numerator": 3, "denominator": 6}, error=ConvslimError)
    Fraction(1, 2)
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise error(f"'{spec}' names no factory; write 'package.module:factory' or 'path/to/file.py:factory'.")
    is_file = place.endswith(".py")
    with _importable(Path(place).resolve().parent if is_file else Path.cwd()):
        module = _import_file(Path(place), spec, error) if is_file else _import_module(place, spec, error)
        factory = _callable_of(module, name, spec, error)
        try:
            return factory(**options)
        except ConvslimError:
            raise
        except Exception as failure:
            raise error(
                f"factory '{spec}' failed with options {dict(options)}: {type(failure).__name__}: {failure}"
            ) from failure


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let imports find modules in `folder`, after all other places, while the context is open."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _import_module(name: str, spec: str, error: type[ConvslimError]) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as failure:
        raise error(
            f"module '{name}' of '{spec}' cannot be imported: {type(failure).__name__}: {failure}. "
            f"It must be installed, or importable from the working directory {Path.cwd()}."
        ) from failure


def _import_file(path: Path, spec: str, error: type[ConvslimError]) -> ModuleType:
    """Import a file once; what was imported already is taken as it is, so that its classes stay the same."""
    if not path.is_file():
        raise error(f"'{spec}': there is no file {path.resolve()}.")
    known = _imported_from(str(path.resolve()))
    if known is not None:
        return known
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    found = importlib.util.spec_from_file_location(name, path.resolve())
    assert found is not None, f"Python has no loader for {path}"
    assert found.loader is not None, f"Python has no loader for {path}"
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except Exception as failure:
        del sys.modules[name]
        raise error(f"file {path} of '{spec}' fails: {type(failure).__name__}: {failure}") from failure
    return module


def _imported_from(file: str) -> ModuleType | None:
    """The module that was imported from this file, under whatever name.

    A second copy would register its operators a second time, and PyTorch then frees those of the first copy.
    """
    modules = [module for name, module in sys.modules.items() if name != "__main__"]
    return next((module for module in modules if getattr(module, "__dict__", {}).get("__file__") == file), None)


def _callable_of(module: ModuleType, name: str, spec: str, error: type[ConvslimError]) -> Callable[..., Any]:
    factory = getattr(module, name, None)
    if factory is None:
        raise error(f"'{spec}': the module has no '{name}'.{nearest(name, vars(module))}")
    if not callable(factory):
        raise error(f"'{spec}': '{name}' is a {type(factory).__name__}; it must be callable.")
    return factory
