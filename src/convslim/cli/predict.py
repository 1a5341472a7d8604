"""`convslim predict`: boxes that an ONNX file of a detector finds, drawn and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from convslim.cli.console import say
from convslim.data.heads import Detections
from convslim.data.imagefolder import opened
from convslim.data.unlabeled import image_files
from convslim.detection.file import DetectorFile
from convslim.detection.own_heads import own_heads
from convslim.detection.picture import drawn, name_of
from convslim.detection.video import SUFFIXES, redraw
from convslim.errors import DataError
from convslim.files import replace_text
from convslim.train.progress import progress

BOXES = "boxes.jsonl"


def predict(
    file: Annotated[Path, typer.Argument(help="ONNX file of a detector, float or int8, that a run wrote.")],
    what: Annotated[Path, typer.Argument(help="An image, a folder of images, or a video.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for pictures with boxes, and boxes.jsonl.")] = Path(
        "predicted"
    ),
    threshold: Annotated[float, typer.Option(help="Smallest score.")] = 0.3,
    overlap: Annotated[float, typer.Option(help="IoU above which the less sure of two boxes goes.")] = 0.45,
    classes: Annotated[str, typer.Option(help="Names instead of the file's, with commas.")] = "",
    heads: Annotated[
        str | None, typer.Option(help="What reads the outputs of a detector of your own: module:factory.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of ONNX Runtime.")] = 1,
    limit: Annotated[int | None, typer.Option(help="Only so many images or frames.")] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw the boxes of images.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Find objects with a detector's ONNX file: in an image, a folder of images, or a video.

    Examples:

      convslim predict runs/bccd/model-int8.onnx photo.jpg --out found

      convslim predict runs/bccd/model-int8.onnx film.mp4 --threshold 0.5
    """
    names = tuple(name for name in classes.split(",") if name)
    detector = DetectorFile(file, names, threads, None if heads is None else own_heads(heads))
    work = _Work(detector, out, threshold, overlap, pictures)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"Cannot write into {out}: {error}. Choose a folder that you may write to.") from error
    lines = list(work.video(what, limit) if what.suffix.lower() in SUFFIXES else work.images(what, limit, quiet))
    replace_text(out / BOXES, "".join(f"{json.dumps(line)}\n" for line in lines))
    number = sum(len(line["objects"]) for line in lines)
    say(f"{number} objects in {len(lines)} {'images' if 'image' in lines[0] else 'frames'}: {out / BOXES}")


class _Work:
    """What all images share."""

    def __init__(self, detector: DetectorFile, out: Path, threshold: float, overlap: float, pictures: bool) -> None:
        self.detector, self.out, self.pictures = detector, out, pictures
        self.options = {"threshold": threshold, "overlap": overlap}

    def images(self, what: Path, limit: int | None, quiet: bool) -> Iterator[dict[str, Any]]:
        """A line per image; pictures keep their place below the folder."""
        files = image_files(what)[:limit] if what.is_dir() else [what]
        with progress("predict", len(files), quiet=quiet) as advance:
            for file in files:
                with opened(file) as image:
                    pixels = image.convert("RGB")
                found = self.detector.find(pixels, **self.options)
                place = file.relative_to(what) if what.is_dir() else Path(file.name)
                if self.pictures:
                    target = (self.out / place).with_suffix(".png")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    drawn(pixels, found, self.detector.facts.classes).save(target)
                advance("")
                yield {"image": str(place), "objects": self.objects(found)}

    def video(self, what: Path, limit: int | None) -> list[dict[str, Any]]:
        """A line per frame, and a video with boxes."""
        lines: list[dict[str, Any]] = []

        def change(number: int, frame: Image.Image) -> Image.Image:
            found = self.detector.find(frame, **self.options)
            lines.append({"frame": number, "objects": self.objects(found)})
            return drawn(frame, found, self.detector.facts.classes)

        if redraw(what, self.out / f"{what.stem}.mp4", change, limit) == 0:
            raise DataError(f"{what} has no frames.")
        return lines

    def objects(self, found: Detections) -> list[dict[str, Any]]:
        """Class, score and box of every object."""
        rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
        classes = self.detector.facts.classes
        return [
            {"class": name_of(label, classes), "score": round(score, 4), "box": [round(edge, 1) for edge in box]}
            for label, score, box in rows
        ]
