"""Progress of a training: bars on terminals, lines in logs."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from convslim.train import progress as module
from convslim.train.progress import progress


def test_a_log_says_how_far_it_is_and_what_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(module, "LINE_EVERY", 30.0)
    monkeypatch.setattr(module.LogBar, "latest", 0.0)
    with progress("epoch 2/9", 6) as advance:
        for step in range(6):
            advance(f"loss {step}.5")
    # A step takes 20 s here, so that every second one has a line.
    assert capsys.readouterr().err.splitlines() == [
        "epoch 2/9  2/6  0:01:20 left  loss 1.5",
        "epoch 2/9  4/6  0:00:40 left  loss 3.5",
        "epoch 2/9  6/6  0:00:00 left  loss 5.5",
    ]


def test_brief_works_say_nothing_in_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LINE_EVERY", 30.0)
    monkeypatch.setattr(module.LogBar, "latest", time.monotonic())
    with progress("evaluate", 2) as advance:
        advance("")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("quiet", [False, True])
def test_bars_are_for_terminals(quiet: bool, monkeypatch: pytest.MonkeyPatch):
    written = io.StringIO()
    terminal = Console(file=written, force_terminal=True, width=80)
    monkeypatch.setattr(module, "Console", lambda **_: terminal)
    with progress("evaluate", 2, quiet=quiet) as advance:
        advance("loss 1")
        advance("loss 2")
    assert bool(re.search("evaluate.*2/2", written.getvalue(), re.DOTALL)) is not quiet
