"""The commands put together, and the border at which errors become messages."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from convslim.cli.bench import bench
from convslim.cli.compress import compress
from convslim.cli.console import fail
from convslim.cli.demo import demo
from convslim.cli.export import export
from convslim.cli.inspect import inspect
from convslim.cli.prune import prune
from convslim.cli.recipes import recipes
from convslim.cli.run import run
from convslim.errors import ConvslimError


class ErrorsAsMessages(TyperGroup):
    """A group of commands that shows errors meant for users as one message, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for; `ConvslimError` ends with exit code 1."""
        try:
            return super().invoke(ctx)
        except ConvslimError as error:
            fail(str(error))
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=ErrorsAsMessages,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Make a trained CNN smaller and faster, and prove what came out.",
)
for command in (demo, run, inspect, prune, compress, export, bench, recipes):
    app.command()(command)
