"""Options of the commands that read images without labels: which ones, and how the network wants them."""

from __future__ import annotations

from typing import Annotated

import typer

Images = Annotated[str, typer.Option(help="Folder of images without labels, or cifar10, digits, imagefolder:/path, …")]
Options = Annotated[list[str] | None, typer.Option("--option", help="Option of the network: KEY=VALUE, repeatable.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed takes other images.")]
BadImages = Annotated[str, typer.Option(help="Images that cannot be decoded: skip or refuse.")]
GrayImages = Annotated[
    str, typer.Option("--gray", "--grey", help="Gray-scale images for a color network: convert, skip or refuse.")
]
Size = Annotated[str | None, typer.Option(help="What the network takes: pixels, or C,H,W.")]
Resize = Annotated[int | None, typer.Option(min=1, help="Side to which the middle square is scaled.")]
Crop = Annotated[float | None, typer.Option(help="Share of that side that is cut out, instead of --resize.")]
Mean = Annotated[str | None, typer.Option(help="Per channel, of pixels in 0…1: 0.5,0.5,0.5.")]
Std = Annotated[str | None, typer.Option(help="Likewise.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads to use.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="The record on standard output, and nothing else.")]
