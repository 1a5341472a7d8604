"""Runs killed at random moments and resumed give the same bits; `benchmarks/kills.py` kills more often."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kills.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_ten_kills_change_nothing():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "10", "--recipe", "short"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == 10
    assert found["different"] == []
    assert found["files_compared"] >= 9
    assert len(found["stages"]) > 1
