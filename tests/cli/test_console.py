"""Progress of long work: a bar that moves on a terminal, nothing elsewhere."""

import io

from rich.console import Console

from convslim.cli import console


def test_the_bar_says_what_is_done_and_how_far(monkeypatch):
    written = io.StringIO()
    terminal = Console(file=written, force_terminal=True, width=80)
    monkeypatch.setattr(console, "Console", lambda **_: terminal)
    with console.watching(quiet=False) as watch:
        for done in range(4):
            watch("refit layers", done, 3)
    assert "refit layers" in written.getvalue()
    assert "3/3" in written.getvalue()


def test_nothing_is_drawn_when_quiet_or_elsewhere(capsys):
    for quiet in (True, False):
        with console.watching(quiet=quiet) as watch:
            assert watch is None
    assert capsys.readouterr().err == ""
