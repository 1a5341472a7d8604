"""Every example runs, or is skipped because a package that it is about is not installed."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TORCHVISION = importlib.util.find_spec("torchvision") is not None
FOLDER = Path(__file__).parent.parent / "examples"
SHARED = {"digits", "squares"}  # what several examples import
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)
SAYS = {
    "plain_loop": ["the same outputs", "of the MACs"],
    "rebuilding_trainer": ["; equal after the round trip"],
    "own_criterion": [" of 106 channels stay"],
    "int8_file": ["layers in integers"],
    "timm_network": ["ResNet: ", "features (1, "],
    "torchvision_detector": ["finetune ", " MACs, mAP ", "the same outputs from ONNX Runtime"],
    "torchvision_retinanet": ["finetune ", " MACs, mAP ", "the same outputs from ONNX Runtime"],
    "lightning_module": ["checkpoint  the same outputs"],
    "hugging_face_trainer": ["saved model the same outputs"],
}


NEEDS = {
    "timm_network": ["timm"],
    "torchvision_detector": ["torchvision"],
    "torchvision_retinanet": ["torchvision"],
    "hugging_face_trainer": ["accelerate"],
}
# Their packages import torchvision where there is one; as elsewhere in the tests, its compiled library may not load.
START = """
import runpy, sys
from pathlib import Path
from convslim.compat import import_optional
import_optional("torchvision")
sys.path.insert(0, str(Path(sys.argv[1]).parent))
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.parametrize("name", NAMES)
def test_runs(name: str, tmp_path: Path):
    path = FOLDER / f"{name}.py"
    for package in {*_imported(path), *NEEDS.get(name, ())}:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    env = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    start = ["-c", START] if {"pytorch_lightning", "transformers"} & _imported(path) and TORCHVISION else []
    done = subprocess.run(
        [sys.executable, *start, str(path)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=480
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [words for words in SAYS[name] if words not in done.stdout] == [], done.stdout
    assert list(tmp_path.iterdir()) == []


def _imported(path: Path) -> set[str]:
    found = {"torch"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found - SHARED - {"torchvision_detector"}


def test_every_example_is_listed():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"({name}.py)" not in text] == []
    assert set(SAYS) == set(NAMES)
