"""`convslim doctor`: whether the installation works."""

from __future__ import annotations

import json
import os
from typing import Annotated, Final

import typer

from convslim.cli.console import say
from convslim.cli.health import Finding, State, examine

MARKS: Final[dict[State, str]] = {"ok": "ok     ", "note": "note   ", "wrong": "WRONG  "}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only what is wrong.")] = False,
) -> None:
    """Check the installation: packages, a cut with its proof, an export, the machine, and optional parts.

    The exit code is 1 if something that convslim needs is missing or fails.

    Examples:

      convslim doctor

      convslim doctor --json
    """
    found = []
    for finding in examine():
        found.append(finding)
        if not as_json and (finding.state == "wrong" or not quiet):
            say(_line(finding))  # at once, as cuts and exports take seconds
    wrong = sum(finding.state == "wrong" for finding in found)
    if as_json:
        say(json.dumps([finding._asdict() for finding in found], indent=1))
    elif not quiet:
        say(f"{wrong} of {len(found)} wrong." if wrong else "Everything that convslim needs is there.")
    if wrong:
        raise typer.Exit(1)


def _line(finding: Finding) -> str:
    way_out = f"{os.linesep}         {finding.way_out}" if finding.way_out else ""
    return f"{MARKS[finding.state]} {finding.what:<22} {finding.found}{way_out}"
