"""For programs: JSON alone on standard output, no color where none is wanted, nothing drawn outside a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.test_cli import SHORT, TINY, call


def test_run_as_json_is_the_record(tmp_path: Path):
    data = json.loads(call("run", TINY, "--out", tmp_path / "run", *SHORT, "--json"))
    assert data == json.loads((tmp_path / "run" / "record.json").read_text(encoding="utf-8"))
    assert (tmp_path / "run" / "report.html").is_file()


def test_prune_and_export_as_json(tmp_path: Path):
    done = json.loads(call("prune", "digits_cnn", "--budget", "macs=0.5", "--out", tmp_path / "small", "--json"))
    assert done["macs"][1] < done["macs"][0]
    assert done["proof"]["relative_error"] < 1e-4
    file = json.loads(call("export", tmp_path / "small", "--out", tmp_path / "small.onnx", "--json"))
    assert file["bytes"] == (tmp_path / "small.onnx").stat().st_size


@pytest.mark.parametrize("extra", [{"NO_COLOR": "1", "FORCE_COLOR": ""}, {}])
def test_no_escape_codes_outside_a_terminal(extra: dict[str, str], tmp_path: Path):
    program = [sys.executable, "-m", "convslim.cli", "run", str(TINY), "--out", str(tmp_path / "run"), *SHORT]
    env = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "NO_COLOR")} | extra
    done = subprocess.run(program, env=env, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout + done.stderr
    assert "[1/1] evaluate" in done.stdout
