"""Readers of files under random damage: an error of ours or a result, never another exception, and soon.

CONVSLIM_FUZZ=2000 looks at more damage than the few examples of the suite.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.report.outline import outline
from tests.report.run_samples import record as run_record
from torch import nn

import convslim
from convslim.criteria.scores import Scores
from convslim.data.batch_pickle import read_batch
from convslim.data.voc_xml import read_annotation
from convslim.errors import ConvslimError
from convslim.export import export_onnx
from convslim.measure.session import open_session, random_feeds
from convslim.pipeline import builtin_recipes, parse_recipe
from convslim.pipeline.source_lines import read_yaml
from convslim.report.run_files import read_run
from convslim.report.run_page import run_page
from convslim.surgery import PruningPlan

SLOWEST = 20.0
"""Seconds of one example, on a machine with other work; what hangs takes forever."""

EXAMPLES = os.environ.get("CONVSLIM_FUZZ")
"""How many examples of each kind, other ones every time; without, the same few."""

quick = settings(
    max_examples=int(EXAMPLES or 60),
    deadline=None,
    derandomize=EXAMPLES is None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@contextlib.contextmanager
def refused_or_read() -> Iterator[None]:
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd numbers make NumPy warn
        with contextlib.suppress(ConvslimError):
            yield
    assert time.monotonic() - started < SLOWEST


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-3, max_value=3),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["..", "/etc/passwd", "<b>", "1e999", "digits", "l1", "a" * 500]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


@st.composite
def damaged(draw: st.DrawFn, data: Any) -> Any:
    """A copy of JSON data in which one to three places hold something else, or are gone, or there is more."""
    found = json.loads(json.dumps(data))
    for _ in range(draw(st.integers(1, 3))):
        holder = found
        while True:
            inner = holder.values() if isinstance(holder, dict) else holder
            deeper = [each for each in inner if isinstance(each, dict | list) and each]
            if not deeper or draw(st.integers(0, 3)) == 0:
                break
            holder = draw(st.sampled_from(deeper))
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            continue
        key = draw(st.sampled_from(keys))
        how = draw(st.integers(0, 4))
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, dict):
            holder[draw(st.text(max_size=6))] = holder[key]
        else:
            holder[key] = draw(values)
    return found


@st.composite
def flipped(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes of which some are others, with a piece cut out or put in."""
    found = bytearray(content)
    for _ in range(draw(st.integers(0, 6))):
        found[draw(st.integers(0, len(found) - 1))] = draw(st.integers(0, 255))
    start = draw(st.integers(0, len(found)))
    how = draw(st.integers(0, 3))
    if how == 1:
        del found[start:]
    elif how == 2:
        del found[start : start + draw(st.integers(1, 64))]
    elif how == 3:
        found[start:start] = draw(st.binary(max_size=64))
    return bytes(found)


RECIPES = {name: read_yaml(text, name)[0] for name, text in sorted(builtin_recipes().items())}


@quick
@given(st.sampled_from(sorted(RECIPES)).flatmap(lambda name: damaged(RECIPES[name])))
def test_recipes(data: Any):
    with refused_or_read():
        parse_recipe(data)


@quick
@given(st.text(alphabet=st.sampled_from("ab:- \n\t{}[],&*!?|>#'\"%@`~0123456789.eE+_=<\u2028\ud7ff"), max_size=120))
@example("a: 1_2\nb: 0o9\nc: 190:20:30\nd: 2026-11-23T99:00:00Z")
@example("<<: 3\n")
@example("<<: [*a]\n&a b: c")
@example("%YAML 9.9\n---\na")
def test_yaml(text: str):
    with refused_or_read():
        read_yaml(text, "r.yaml")


@quick
@given(st.sampled_from(sorted(builtin_recipes())).flatmap(lambda name: flipped(builtin_recipes()[name].encode())))
def test_yaml_of_recipes(content: bytes):
    with refused_or_read():
        parse_recipe(read_yaml(content.decode("utf-8", errors="replace"), "r.yaml")[0])


@functools.cache
def plan() -> dict[str, Any]:
    """A plan that is carried out on a graph, so that it holds a program."""

    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 16, 3), nn.Conv2d(8, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            left, right = self.one(x).split([8, 8], 1)
            return self.two(left * right)

    graph = convslim.trace(Split(), torch.zeros(1, 3, 8, 8))
    found = json.loads(convslim.make_plan(graph, {"one": range(4)}).to_json())
    assert found["program"]
    return found


@quick
@given(st.deferred(lambda: damaged(plan())))
def test_plans(data: Any):
    with refused_or_read():
        found = PruningPlan.from_json(json.dumps(data))
        convslim.rebuild(nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(8, 4, 3)), found)


@quick
@given(st.deferred(lambda: damaged(plan()["program"])))
def test_graphs(data: Any):
    from convslim.channels.program.assemble import Program, assemble

    tensors = {"one.weight": torch.zeros(16, 3, 3, 3), "one.bias": torch.zeros(16)}
    tensors |= {"two.weight": torch.zeros(4, 8, 3, 3), "two.bias": torch.zeros(4)}
    with refused_or_read():
        assemble(Program.from_data(data), tensors)


@quick
@given(damaged({"criterion": "l1", "structure": "3f", "values": {"a": [1.0, 2.0]}, "unscored": ["b"]}))
def test_scores(data: Any):
    with refused_or_read():
        Scores.from_json(json.dumps(data))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "artifact"
    model, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)), torch.zeros(1, 3, 8, 8)
    plan = convslim.make_plan(convslim.trace(model, x), {"0": range(5)})
    return convslim.save(convslim.remove(model, plan, x), folder, plan=plan)


@quick
@given(st.data())
def test_artifacts(artifact: Path, tmp_path: Path, data: st.DataObject):
    name = data.draw(st.sampled_from(sorted(file.name for file in artifact.iterdir())))
    whole = {file.name: file.read_bytes() for file in artifact.iterdir()}
    if name == "artifact.json" and data.draw(st.booleans()):
        whole[name] = json.dumps(data.draw(damaged(json.loads(whole[name])))).encode()
    else:
        whole[name] = data.draw(flipped(whole[name]))
    for each, content in whole.items():
        (tmp_path / each).write_bytes(content)
    with refused_or_read():
        convslim.load(tmp_path, lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)))


@quick
@given(st.data())
def test_weights(artifact: Path, tmp_path: Path, data: st.DataObject):
    buffer = io.BytesIO()
    torch.save(nn.Conv2d(3, 8, 3).state_dict(), buffer)
    form = data.draw(st.sampled_from([".pt", ".safetensors"]))
    content = buffer.getvalue() if form == ".pt" else (artifact / "model.safetensors").read_bytes()
    (tmp_path / f"net{form}").write_bytes(data.draw(flipped(content)))
    with refused_or_read():
        convslim.load_weights(nn.Conv2d(3, 8, 3), tmp_path / f"net{form}", strict=False)


XML = b"""<annotation><filename>a.jpg</filename><size><width>50</width><height>40</height><depth>3</depth></size>
<object><name>cell</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object></annotation>"""


@quick
@given(flipped(XML))
@example(XML.replace(b"50", b"1e400"))
@example(XML.replace(b"50", b"nan"))
@example(XML.replace(b"50", b"\xd9\xa5"))
@example(b'<?xml version="1.0" encoding="nonsense"?>' + XML)
@example(b'<?xml version="1.0" encoding="utf-7"?>' + XML)
def test_annotations(tmp_path: Path, content: bytes):
    (tmp_path / "a.xml").write_bytes(content)
    with refused_or_read():
        read_annotation(tmp_path / "a.xml")


def batch() -> bytes:
    images = np.zeros((3, 3072), dtype=np.uint8)
    return pickle.dumps({b"data": images, b"labels": [0, 1, 2]}, protocol=2)


@quick
@given(flipped(batch()))
def test_cifar_batches(tmp_path: Path, content: bytes):
    (tmp_path / "data_batch_1").write_bytes(content)
    with refused_or_read():
        read_batch(tmp_path / "data_batch_1")


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("fuzz") / "net.onnx"
    export_onnx(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), torch.zeros(1, 3, 8, 8), path)
    return path.read_bytes()


@quick
@given(st.data())
def test_onnx_files(onnx_file: bytes, tmp_path: Path, data: st.DataObject):
    (tmp_path / "net.onnx").write_bytes(data.draw(flipped(onnx_file)))
    with refused_or_read():
        random_feeds(open_session(tmp_path / "net.onnx"), 1)


@quick
@given(damaged(run_record("run")))
def test_records_and_reports(tmp_path: Path, data: Any):
    (tmp_path / "record.json").write_text(json.dumps(data), encoding="utf-8")
    with refused_or_read():
        page = outline(run_page(read_run(tmp_path)))
        assert page.open == []
        assert "onerror" not in page.names
        assert [each for each in page.targets if not each.startswith(("#", "data:,", "data:image/png;base64,"))] == []


def test_the_watch_sees_what_is_not_ours():
    def fails() -> None:
        raise KeyError("x")

    guarded: Callable[[], None] = fails
    with pytest.raises(KeyError), refused_or_read():
        guarded()
