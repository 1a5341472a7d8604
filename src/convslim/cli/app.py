"""The commands put together, and the border at which errors become messages.

A command's module is imported when the command is called, so that help, completion and what needs no network are quick.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from convslim import __version__
from convslim.cli.console import fail, say
from convslim.errors import ConvslimError

COMMANDS: Final = {
    "demo": "Train, prune by several methods, fine-tune and export a small network on embedded data: "
    "under two minutes.",
    "init": "Write a commented recipe for a network and data, after looking at both.",
    "run": "Carry out a recipe: from a trained or trainable network to a smaller one, measured.",
    "report": "Write an offline HTML page of a run, or of several runs side by side.",
    "search": "Evaluate candidates of a search beside the run that began it, until it is over.",
    "inspect": "Show a network's channel groups: who makes and reads them, what binds them, what pins them and why.",
    "prune": "Cut a network to a budget and save it, proven equal to the masked original.",
    "compress": "Cut a trained network to a budget and refit what is left by least squares: no labels, no training.",
    "quantize": "Write a network in 8-bit integers, calibrated on images without labels, and measure the file.",
    "export": "Write an ONNX file with dynamic batch, and compare what ONNX Runtime computes with PyTorch.",
    "predict": "Find objects with a detector's ONNX file: in an image, a folder of images, or a video.",
    "bench": "Measure latency: several files and networks in turn, so that noise hits all alike.",
    "recipes": "List the recipes and methods that convslim brings along, or print one to start your own from.",
    "doctor": "Check the installation: packages, a cut with its proof, an export, the machine, and optional parts.",
}
"""Name → first line of the help. The function of this name stands in the module of this name."""


class Commands(TyperGroup):
    """The group of all commands; errors meant for users are shown as one message, without a traceback."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands.update({name: TyperCommand(name, help=line) for name, line in COMMANDS.items()})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, with its options."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else loaded(name), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for; `ConvslimError` ends with exit code 1."""
        try:
            return super().invoke(ctx)
        except ConvslimError as error:
            fail(str(error))
            raise typer.Exit(1) from error


def loaded(name: str) -> Any:
    """A command with its options, from its own module."""
    single = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    single.command(name)(getattr(importlib.import_module(f"convslim.cli.{name}"), name))
    return typer.main.get_command(single)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 something is wrong and the message says what, 2 wrong usage, 130 interrupted.",
)


def _version(asked: bool) -> None:
    if asked:
        say(f"convslim {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Make a trained CNN smaller and faster, and prove what came out."""
