"""What is expected of every case; see `expected.yaml`."""

from pathlib import Path

import yaml

from convslim.conformance import CASES

EXPECTED = yaml.safe_load((Path(__file__).parent / "expected.yaml").read_text(encoding="utf-8"))
# Writing a model as a graph takes a second: what such plans give is under test in `surgery/test_graph_way.py`.
IN_CLASS = [case for case in CASES if EXPECTED[case.name].get("way", "class") == "class"]
