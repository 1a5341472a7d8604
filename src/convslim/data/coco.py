"""Images with boxes described by one JSON file, as in the COCO challenge ("object detection" format)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convslim.data.annotated import AnnotatedImage, AnnotatedImages, Box, Repairs, repaired, summed
from convslim.errors import DataError, nearest


def read_coco(file: str | Path, images: str | Path, classes: Sequence[str] | None = None) -> AnnotatedImages:
    """Read one file of annotations; images are opened when they are needed.

    Args:
        file: The JSON file, with `images`, `annotations` and `categories`.
        images: The folder that its `file_name`s are below.
        classes: Names in the order of the network's outputs; without them, all categories in the order of their ids.

    Returns:
        The images in the order of the file. Crowds (`iscrowd`) count as difficult.

    Raises:
        DataError: The file is missing or broken, or an object has an unknown image or a class that is not among
            ``classes``; names file, value and rule.
    """
    reading = _Reading(Path(file))
    content = reading.content()
    names = {
        reading.whole(each, "id"): str(reading.value(each, "name")) for each in reading.rows(content, "categories")
    }
    known = tuple(classes) if classes is not None else tuple(names[key] for key in sorted(names))
    objects: dict[int, list[Mapping[str, Any]]] = {}
    for each in reading.rows(content, "annotations"):
        objects.setdefault(reading.whole(each, "image_id"), []).append(each)
    found, repairs = [], Repairs()
    for each in reading.rows(content, "images"):
        own = objects.pop(reading.whole(each, "id"), [])
        image, odd = reading.image(each, own, Path(images), names, known)
        found.append(image)
        repairs = summed(repairs, odd)
    if objects:
        raise DataError(f"{file}: objects belong to image {next(iter(objects))}, which is not among its images.")
    if not found:
        raise DataError(f"{file} names no image.")
    return AnnotatedImages(tuple(found), known, repairs)


class _Reading:
    """Reads parts of one file; errors name it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def content(self) -> Mapping[str, Any]:
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(
                f"Cannot read the annotations {self.file}: {error.strerror}. Give the JSON file."
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.file} is no valid JSON: {error}. Restore the file.") from error
        if not isinstance(content, dict):
            raise DataError(f"{self.file} holds a {type(content).__name__}; annotations are an object of lists.")
        return content

    def rows(self, content: Mapping[str, Any], key: str) -> Iterable[Mapping[str, Any]]:
        rows = content.get(key)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"{self.file} has no list '{key}' of objects, which the COCO format asks for.")
        return rows

    def value(self, row: Mapping[str, Any], key: str) -> Any:
        if key not in row:
            raise DataError(f"{self.file}: {str(dict(row))[:80]} has no '{key}', which the COCO format asks for.")
        return row[key]

    def whole(self, row: Mapping[str, Any], key: str) -> int:
        value = self.value(row, key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise DataError(f"{self.file}: '{key}' is {value!r}; a whole number is needed.")
        return value

    def box(self, row: Mapping[str, Any]) -> Box:
        """Left, top, right, bottom; the file has left, top, width, height."""
        value = self.value(row, "bbox")
        fits = isinstance(value, list) and len(value) == 4
        if not fits or not all(isinstance(number, int | float) and abs(number) < 1e9 for number in value):
            raise DataError(f"{self.file}: 'bbox' is {str(value)[:60]}; left, top, width and height are needed.")
        left, top, width, height = map(float, value)
        return left, top, left + width, top + height

    def image(
        self,
        row: Mapping[str, Any],
        objects: Sequence[Mapping[str, Any]],
        folder: Path,
        names: Mapping[int, str],
        classes: Sequence[str],
    ) -> tuple[AnnotatedImage, Repairs]:
        """One image with its objects, and what was odd about them."""
        name = str(self.value(row, "file_name"))
        path, size = folder / name, (self.whole(row, "width"), self.whole(row, "height"))
        if min(size) < 1 or Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{self.file}: image {name!r} of {size[0]} x {size[1]} pixels is no image below {folder}.")
        if not path.is_file():
            raise DataError(f"{folder} has no image {name}, which {self.file.name} names.")
        labels = [self._label(each, names, classes) for each in objects]
        hard = [bool(each.get("iscrowd", 0)) for each in objects]
        kept, odd = repaired([self.box(each) for each in objects], labels, hard, size)
        return AnnotatedImage(path, size, kept), odd

    def _label(self, row: Mapping[str, Any], names: Mapping[int, str], classes: Sequence[str]) -> int:
        name = names.get(self.whole(row, "category_id"))
        if name is None:
            raise DataError(f"{self.file}: an object has category {row['category_id']}, which is not listed.")
        if name not in classes:
            raise DataError(
                f"{self.file}: an object is a {name!r}, which is none of the classes {', '.join(classes)}."
                f"{nearest(name, classes)}"
            )
        return classes.index(name)
