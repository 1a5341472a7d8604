"""Progress of long work: a bar that moves on a terminal, a line now and then in a log."""

import io

from rich.console import Console
from rich.table import Table

from convslim.cli import console
from convslim.train import progress


def test_the_bar_says_what_is_done_and_how_far(monkeypatch):
    written = io.StringIO()
    terminal = Console(file=written, force_terminal=True, width=80)
    monkeypatch.setattr(console, "Console", lambda **_: terminal)
    with console.watching(quiet=False) as watch:
        for done in range(4):
            watch("refit layers", done, 3)
    assert "refit layers" in written.getvalue()
    assert "3/3" in written.getvalue()


def test_a_log_has_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    with console.watching(quiet=False) as watch:
        for done in range(3):
            watch("refit layers", done, 2)
    assert [line.split("  ") for line in capsys.readouterr().err.splitlines()] == [
        ["refit layers", "1/2", "0:00:00 left"],
        ["refit layers", "2/2", "0:00:00 left"],
    ]
    monkeypatch.setattr(progress, "LINE_EVERY", 1000.0)
    with console.watching(quiet=False) as watch:
        for done in range(2):
            watch("refit layers", done, 2)
    assert capsys.readouterr().err == ""


def test_nothing_is_said_when_quiet(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    with console.watching(quiet=True) as watch:
        assert watch is None
    assert capsys.readouterr().err == ""


def test_no_number_is_cut_off_where_the_terminal_is_narrow(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    table = Table("millions", "more of them")
    table.add_row("123,456,789", "987,654,321.5")
    console.show(table)
    shown = capsys.readouterr().out
    assert "123,456,789" in shown
    assert "987,654,321.5" in shown
    assert "…" not in shown
