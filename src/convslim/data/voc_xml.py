"""One annotation file of the Pascal VOC format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from convslim.errors import DataError

LARGEST_FILE = 2**24  # bytes; real ones have a few thousand


@dataclass(frozen=True)
class VocObject:
    """One object as it is written: corners in pixels, counted from 1, both inside the box."""

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class VocFile:
    """One annotation file; `size` is (width, height) of the image."""

    size: tuple[int, int]
    objects: tuple[VocObject, ...]


def read_annotation(path: Path) -> VocFile:
    """Read one file.

    Raises:
        DataError: The file is missing, is no XML, declares entities, or lacks what the format asks for; names file and
            element.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path} has {path.stat().st_size} bytes; an annotation has some thousand. Check the file.")
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read the annotation {path}: {error.strerror}. Every image needs one.") from error
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\x00" in text:
        # Entities can blow a small file up to gigabytes; no annotation needs them. UTF-16 could hide them.
        raise DataError(f"{path} declares a document type, entities, or is not UTF-8: no VOC annotation does.")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(
            f"{path} is no valid XML: {error}. Restore the file, or take its image out of the split."
        ) from error
    size = _Element(path, root).child("size")
    return VocFile(
        (size.whole("width"), size.whole("height")),
        tuple(_object(_Element(path, found)) for found in root.iter("object")),
    )


def _object(element: _Element) -> VocObject:
    box = element.child("bndbox")
    return VocObject(
        element.text("name"),
        (box.number("xmin"), box.number("ymin"), box.number("xmax"), box.number("ymax")),
        element.text("difficult", "0") not in ("0", "0.0", "false", "False"),
    )


@dataclass(frozen=True)
class _Element:
    """An element whose errors name the file and the tag."""

    path: Path
    element: ElementTree.Element

    def child(self, tag: str) -> _Element:
        found = self.element.find(tag)
        if found is None:
            raise DataError(f"{self.path}: <{self.element.tag}> has no <{tag}>, which the VOC format asks for.")
        return _Element(self.path, found)

    def text(self, tag: str, default: str | None = None) -> str:
        found = self.element.find(tag)
        text = (found.text or "").strip() if found is not None else ""
        if not text and default is None:
            raise DataError(f"{self.path}: <{self.element.tag}> has no text in <{tag}>.")
        return text or str(default)

    def number(self, tag: str) -> float:
        text = self.text(tag)
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not abs(value) < 1e9:
            raise DataError(
                f"{self.path}: <{tag}> in <{self.element.tag}> is {text[:40]!r}; a number of pixels is needed."
            )
        return value

    def whole(self, tag: str) -> int:
        value = self.number(tag)
        if value < 1 or value != int(value):
            raise DataError(f"{self.path}: <{tag}> is {value:g}; a whole number above 0 is needed.")
        return int(value)
