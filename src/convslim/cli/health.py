"""What an installation is examined for, one finding after the other."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from convslim.measure.machine import busy_note, cpu_name, load, physical_memory
from convslim.report.numbers import byte_text, counted

State = Literal["ok", "note", "wrong"]

OPTIONAL: Final = {
    "timm": ("timm", "the networks of timm"),
    "torchvision": ("torchvision", "the networks of torchvision"),
    "openvino": ("openvino", "latency in OpenVINO"),
    "pycocotools": ("coco", "COCO's measure of detectors"),
    "av": ("video", "frames of videos"),
}
"""Package → the extra that installs it, and what it is for."""


class Finding(NamedTuple):
    """One thing that was looked at: `note` is nothing to worry about, `wrong` has a way out."""

    what: str
    state: State
    found: str
    way_out: str = ""


def examine() -> Iterator[Finding]:
    """Everything, in order; what fails is told, never raised."""
    yield Finding("Python", "ok", sys.version.split()[0])
    for requirement in importlib.metadata.requires("convslim") or ():
        if "extra ==" not in requirement:
            yield _required(requirement)
    for what, work in WORKS.items():
        yield _tried(what, work)
    yield _machine()
    yield _data()
    for package, (extra, purpose) in OPTIONAL.items():
        yield _optional(package, extra, purpose)


def _required(requirement: str) -> Finding:
    """A package that must be there, in a version that is new enough."""
    from packaging.requirements import Requirement  # comes with the packages that convslim needs

    wanted = Requirement(requirement)
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(wanted.name, "wrong", "not installed", f"pip install -c constraints.txt '{requirement}'")
    if not wanted.specifier.contains(version, prereleases=True):
        found = f"{version}, and {wanted.specifier} is needed"
        return Finding(wanted.name, "wrong", found, f"pip install -c constraints.txt '{requirement}'")
    return Finding(wanted.name, "ok", version)


def _tried(what: str, work: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", work())
    except Exception as error:
        text = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:300]
        return Finding(what, "wrong", text, "Install the tested versions: pip install -c constraints.txt -e .")


def _cut() -> str:
    """Trace, cut and prove the embedded network."""
    import torch

    import convslim

    model = convslim.models.create("digits_cnn").eval()
    example = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    graph = convslim.trace(model, example)
    plan = convslim.allocate(graph, convslim.score(graph, model, "l1"), {"macs": 0.5})
    small = convslim.remove(model, plan, example, graph=graph)
    certificate = convslim.verify(model, small, plan, example, graph=graph)
    return f"half of the MACs removed and proven, relative error {certificate.relative_error:.0e}"


def _exported() -> str:
    """Write an ONNX file, and compare what ONNX Runtime computes."""
    import torch

    import convslim
    from convslim.export import export_onnx

    with tempfile.TemporaryDirectory() as folder:
        model = convslim.models.create("digits_cnn").eval()
        report = export_onnx(model, torch.zeros(1, 1, 8, 8), Path(folder) / "model.onnx")
    return f"{byte_text(report.bytes)}, ONNX Runtime agrees to {report.max_error:.0e}"


def _written() -> str:
    """A file in the folder that runs go to."""
    from convslim.files import replace_text

    with tempfile.TemporaryDirectory(dir=".", prefix=".convslim-") as folder:
        replace_text(Path(folder) / "file", "text")
    return f"{byte_text(shutil.disk_usage('.').free)} free here"


WORKS: Final[dict[str, Callable[[], str]]] = {"a cut": _cut, "an export": _exported, "this folder": _written}
"""What must work, by name."""


def _machine() -> Finding:
    cores = os.cpu_count() or 1
    memory = physical_memory()
    text = f"{cpu_name()}, {counted(cores, 'core')}" + (f", {byte_text(memory)}" if memory else "")
    busy = busy_note(load(), cores)
    return Finding("machine", "note" if busy else "ok", text, busy or "")


def _data() -> Finding:
    place = os.environ.get("CONVSLIM_DATA")
    if place is None:
        words = "recipes for CIFAR-10 look there for images and weights"
        return Finding("CONVSLIM_DATA", "note", f"not set; {words}")
    if not Path(place).is_dir():
        return Finding("CONVSLIM_DATA", "wrong", f"{place} is no folder", "Set it to the folder of your data sets.")
    return Finding("CONVSLIM_DATA", "ok", place)


def _optional(package: str, extra: str, purpose: str) -> Finding:
    try:
        return Finding(package, "ok", importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return Finding(package, "note", f"not installed: {purpose}", f"pip install -c constraints.txt -e '.[{extra}]'")
