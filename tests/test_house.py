"""The rules of the house that a machine can check."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.sizes import oversized

import convslim

ROOT = Path(__file__).parent.parent
MODULES = sorted(module.name for module in pkgutil.walk_packages(convslim.__path__, "convslim."))


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name):
    assert importlib.import_module(name).__doc__


def test_sizes_stay_in_budget():
    assert list(oversized(ROOT / "src")) == []


def test_sizes_reports_a_long_file_and_a_long_function(tmp_path):
    (tmp_path / "long.py").write_text("def f():\n" + "    x = 1\n" * 41 + "\n" * 260)
    (tmp_path / "documented.py").write_text('def f():\n    """' + "words\n" * 50 + '"""\n' + "    x = 1\n" * 40)
    assert [line.split(": ", 1)[1] for line in oversized(tmp_path)] == [
        "302 lines; a file has at most 300",
        "f has 41 lines; at most 40",
    ]


def test_core_imports_no_optional_package():
    code = (
        "import sys, convslim; [getattr(convslim, name) for name in convslim.__all__]; "
        "print('torch' in sys.modules, *{'torchvision', 'timm', 'sklearn', 'torch_pruning'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "True"


def test_constraints_name_no_build_and_no_url():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert "torch==2.13.0" in pins
    assert all(line.count("==") == 1 and "+" not in line and "/" not in line for line in pins)
