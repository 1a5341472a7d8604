"""The command ``python -m convslim.conformance``."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from convslim.conformance.case import Case
from convslim.conformance.cases import CASES
from convslim.conformance.referee import Judgment
from convslim.conformance.results import Results, setting
from convslim.conformance.tables import for_terminal, markdown, summary
from convslim.conformance.tool import open_tool
from convslim.conformance.worker import LIMIT, judge_apart
from convslim.errors import ArtifactError, ConvslimError
from convslim.files import replace_text

BEGIN, END = "<!-- results -->", "<!-- end of results -->"

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command()
def conformance(
    tool: Annotated[
        list[str], typer.Option(help="convslim, torch-pruning, or module:factory of your own; repeatable.")
    ] = ["convslim"],  # noqa: B006 - read only
    only: Annotated[str, typer.Option(help="Run the cases whose name matches this pattern.")] = "*",
    json: Annotated[Path | None, typer.Option(help="Write all verdicts and reasons to this file.")] = None,
    to_markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write tables to this file, or between its result marks.")
    ] = None,
    limit: Annotated[float, typer.Option(min=0.1, help="Seconds for one case.")] = LIMIT,
) -> None:
    """Ask pruning tools to remove a quarter of the channels of many small networks, and judge what comes back.

    Exit code 1 if a tool is wrong, crashes, or does not come back in time.

    Examples:

      python -m convslim.conformance

      python -m convslim.conformance --tool torch-pruning --only 'shuffle*'

      python -m convslim.conformance --tool my_package.adapter:factory --json verdicts.json
    """
    try:
        around = ("", "") if to_markdown is None else _around(to_markdown)  # before minutes are spent
        results = _run(tool, only, limit)
        Console().print(for_terminal(results))
        Console().print(summary(results), highlight=False, markup=False, soft_wrap=True)
        if json is not None:
            replace_text(json, results.to_json())
        if to_markdown is not None:
            replace_text(to_markdown, markdown(results).join(around))
    except ConvslimError as error:
        Console(stderr=True).print(f"Error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    raise typer.Exit(int(results.failed))


def _run(tools: list[str], only: str, limit: float) -> Results:
    cases = [case for case in CASES if fnmatch(case.name, only)]
    for spec in tools:
        open_tool(spec)  # a mistake in the name shows here, not once per case
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        return Results({spec: _judge(spec, cases, limit, progress) for spec in tools}, setting())


def _judge(spec: str, cases: list[Case], limit: float, progress: Progress) -> dict[str, Judgment]:
    task = progress.add_task(spec, total=len(cases))
    judgments = {}
    for case, judgment in zip(cases, judge_apart(spec, cases, limit), strict=True):
        judgments[case.name] = judgment
        progress.update(task, advance=1, description=f"{spec}: {case.name}")
    return judgments


def _around(path: Path) -> tuple[str, str]:
    """What stands before and behind the tables of a page; nothing if there is no such file yet."""
    try:
        page = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}. Give a Markdown file or a new name.") from error
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if page and not end:
        raise ArtifactError(f"{path} has no lines {BEGIN} and {END}, between which the tables would go.")
    return (f"{before}{begin}\n", f"\n{end}{after}") if page else ("", "")
