"""The outcome of a run for people: a table for the terminal, and Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from convslim.conformance.cases import FAMILIES
from convslim.conformance.referee import Judgment, Verdict
from convslim.conformance.results import Results

COLORS = {
    Verdict.EXACT: "green",
    Verdict.APPROXIMATE: "green",
    Verdict.UNDECLARED: "yellow",
    Verdict.REFUSED: "cyan",
    Verdict.UNCHANGED: "yellow",
    Verdict.WRONG: "bold red",
    Verdict.CRASH: "red",
    Verdict.TIMEOUT: "red",
}


def for_terminal(results: Results) -> Table:
    """One row per case; with one tool, its reasons, with several, what makes the case hard."""
    table = Table()
    table.add_column("case", overflow="fold")
    for tool in results.judgments:
        table.add_column(tool)
    alone = len(results.judgments) == 1
    table.add_column("why" if alone else "what makes it hard", overflow="fold")
    for family in FAMILIES:
        for name, hard, judgments in _rows(results, family):
            cells = [Text(found.verdict.value, style=COLORS[found.verdict]) for found in judgments]
            table.add_row(name, *cells, Text(judgments[0].reason if alone else hard))
    return table


def summary(results: Results) -> str:
    """One line per tool: how often each verdict was given."""
    lines = []
    for tool, judgments in results.judgments.items():
        counts = results.counts(tool)
        parts = [f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict]]
        lines.append(f"{tool}: {len(judgments)} cases, {', '.join(parts) or 'none'}")
    return "\n".join(lines)


def markdown(results: Results) -> str:
    """Day and versions, a table of families with counts, and a table of all cases."""
    setting = ", ".join(f"{name} {value}" for name, value in results.setting.items())
    families = [_family_table(results, tool) for tool in results.judgments]
    return "\n\n".join([f"{setting[:1].upper()}{setting[1:]}.", *families, _case_table(results)]) + "\n"


def _family_table(results: Results, tool: str) -> str:
    verdicts = [verdict for verdict in Verdict if any(results.counts(each)[verdict] for each in results.judgments)]
    lines = [_line(f"**{tool}**", "cases", *(verdict.value for verdict in verdicts))]
    lines.append("| --- |" + " ---: |" * (len(verdicts) + 1))
    for family in [*FAMILIES, None]:
        counts = results.counts(tool, family)
        if counts.total():
            numbers = [str(counts[verdict]) if counts[verdict] else "" for verdict in verdicts]
            lines.append(_line(family or "all", str(counts.total()), *numbers))
    return "\n".join(lines)


def _case_table(results: Results) -> str:
    lines = [_line("case", "what makes it hard", *results.judgments)]
    lines.append("| --- |" * 1 + " --- |" * (1 + len(results.judgments)))
    for family in FAMILIES:
        rows = list(_rows(results, family))
        if rows:
            lines.append(_line(f"**{family}**", "", *("" for _ in results.judgments)))
        for name, hard, judgments in rows:
            lines.append(_line(f"`{name}`", hard, *(_cell(found) for found in judgments)))
    return "\n".join(lines)


def _rows(results: Results, family: str) -> Iterator[tuple[str, str, list[Judgment]]]:
    for case in FAMILIES[family]:
        found = [judgments.get(case.name) for judgments in results.judgments.values()]
        if all(found):
            yield case.name, case.hard, [judgment for judgment in found if judgment]


def _cell(judgment: Judgment) -> str:
    failed = judgment.verdict in (Verdict.WRONG, Verdict.CRASH, Verdict.TIMEOUT)
    return f"**{judgment.verdict.value}**" if failed else judgment.verdict.value


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
