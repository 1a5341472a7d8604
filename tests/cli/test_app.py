"""The group of commands: quick, listed with the first line of each command's own help."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import convslim
from convslim.cli import app
from convslim.cli.app import COMMANDS, loaded


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_says(name: str):
    assert loaded(name).help.splitlines()[0] == COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str):
    result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert f"convslim {name}" in result.output.split("Example", 1)[1]


def test_help_version_and_reports_import_no_torch():
    code = (
        "import sys; from typer.testing import CliRunner; from convslim.cli import app; "
        "import convslim.report; run = CliRunner().invoke; "
        "print(run(app, ['--help']).exit_code, run(app, ['--version']).output.strip(), 'torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["0", "convslim", convslim.__version__, "False"]


def test_unknown_commands_get_a_proposal():
    result = CliRunner().invoke(app, ["inspct"])
    assert result.exit_code == 2
    assert "inspect" in result.output


def complete(words: str, number: int) -> list[str]:
    env = {**os.environ, "_CONVSLIM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    program = [sys.executable, "-c", "from convslim.cli import app; app(prog_name='convslim')"]
    return subprocess.run(program, env=env, capture_output=True, text=True, check=True).stdout.split()


def test_commands_and_options_are_completed():
    assert complete("convslim ins", 1) == ["inspect"]
    assert complete("convslim recipes --h", 2) == ["--help"]
