"""Frames of a video file, one after the other, and back into a file. Needs the optional package `av`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from convslim.errors import DataError

SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})


def redraw(
    source: Path, target: Path, change: Callable[[int, Image.Image], Image.Image], limit: int | None = None
) -> int:
    """Write a video whose frames are those of another, changed; MPEG-4, without sound.

    Args:
        change: Gets number and picture of a frame, gives one of the same size.
        limit: Only so many frames.

    Returns:
        Number of frames.

    Raises:
        DataError: `av` is not installed, or the file holds no video that it can read.
    """
    av = _av()
    try:
        with av.open(str(source)) as read, av.open(str(target), "w") as written:
            given = read.streams.video[0]
            stream = written.add_stream("mpeg4", rate=given.average_rate or 25)
            stream.width, stream.height, stream.pix_fmt = given.width // 2 * 2, given.height // 2 * 2, "yuv420p"
            number = 0
            for frame in read.decode(given):
                if limit is not None and number >= limit:
                    break
                picture = change(number, frame.to_image())
                for packet in stream.encode(av.VideoFrame.from_image(picture)):
                    written.mux(packet)
                number += 1
            for packet in stream.encode():
                written.mux(packet)
    except (av.FFmpegError, IndexError, OSError) as error:
        raise DataError(
            f"{source} cannot be read as a video: {error}. Give a video file, such as one of .mp4."
        ) from error
    return number


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise DataError("Videos need the package av. Install it: pip install 'convslim[video]'.") from error
    return av
