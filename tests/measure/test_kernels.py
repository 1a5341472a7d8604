"""Profiles: events read from a list, and small files whose kernels are known."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.measure.onnx_files import float_file, int8_file

from convslim.errors import ArtifactError
from convslim.measure.kernels import kernels, profile_onnx
from convslim.measure.session import open_session, random_feeds

FEEDS = partial(random_feeds, batch=1)


def event(name: str, microseconds: int, kind: str = "float", category: str = "Node") -> dict[str, Any]:
    shapes = {"input_type_shape": [{kind: [1, 3]}], "output_type_shape": [{kind: [1, 4, 5]}], "op_name": "Conv"}
    return {"cat": category, "name": name, "dur": microseconds, "args": shapes}


def test_events_become_kernels_in_order_without_their_first_runs() -> None:
    run = ["b_kernel_time", "a_kernel_time"]
    times = {"b": [900, 10, 20, 500], "a": [900, 4, 4, 4]}
    events = [event("b_fence_before", 7), event("session", 99, category="Session")]
    events += [event(name, times[name[0]][number]) for number in range(4) for name in run]
    found = kernels(events, warmup=1)
    assert [kernel.node for kernel in found] == ["b", "a"]
    # the faster half of 10, 20 and 500, and half a microsecond that the profiler cuts off
    assert [kernel.ms for kernel in found] == pytest.approx([0.0155, 0.0045])
    assert found[0].output_shape == (1, 4, 5)
    assert found[0].input_type == "float"


def test_integers_are_told_from_conversions() -> None:
    quantized = event("a_kernel_time", 1, "uint8")
    conversion = event("b_kernel_time", 1, "uint8")
    conversion["args"]["op_name"] = "DequantizeLinear"
    bare = {"cat": "Node", "name": "c_kernel_time", "dur": 1, "args": {"op_name": "Shape"}}
    found = kernels([quantized, conversion, event("d_kernel_time", 1), bare], warmup=0)
    assert [kernel.integer for kernel in found] == [True, False, False, False]
    assert [kernel.is_layer for kernel in found] == [True, False, True, False]


def test_layers_of_a_float_file_have_their_names(tmp_path: Path) -> None:
    found = profile_onnx(float_file(tmp_path / "small.onnx", num_layers=3), FEEDS, repeats=3)
    layers = [kernel for kernel in found if kernel.is_layer]
    assert [kernel.layer for kernel in layers] == ["block.0", "block.1", "block.2"]
    assert not any(kernel.integer for kernel in found)
    assert all(kernel.ms > 0 for kernel in found)
    assert layers[0].output_shape[2:] == (6, 6)  # channels may be padded to a block
    assert {kernel.layer for kernel in found if not kernel.is_layer} <= {""}


def test_an_int8_file_shows_what_runs_in_integers(tmp_path: Path) -> None:
    found = profile_onnx(int8_file(tmp_path / "int8.onnx"), FEEDS, repeats=3)
    layers = {kernel.layer: kernel for kernel in found if kernel.is_layer}
    assert layers["first"].integer
    assert layers["first"].operation == "QLinearConv"
    assert not layers["second"].integer
    assert not any(kernel.integer for kernel in found if kernel.operation == "QuantizeLinear")


def test_bytes_are_profiled_like_files(tmp_path: Path) -> None:
    content = float_file(tmp_path / "small.onnx").read_bytes()
    assert len([kernel for kernel in profile_onnx(content, FEEDS, repeats=1) if kernel.is_layer]) == 2


def test_input_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path = float_file(tmp_path / "small.onnx", shape=(2, 3, 8, 8))
    with pytest.raises(ArtifactError, match=r"takes \(2, 3, 8, 8\) at 'input', which is not batch 1\."):
        profile_onnx(path, FEEDS, repeats=1)
    with pytest.raises(ArtifactError, match=r"not batch 2 of \(1, 8, 8\)"):
        random_feeds(open_session(path), 2, (1, 8, 8))
    open_sizes = float_file(tmp_path / "open.onnx", shape=("batch", 3, "height", "width"))
    with pytest.raises(ArtifactError, match=r"leaves sizes of 'input' open, \(batch, 3, height, width\)"):
        profile_onnx(open_sizes, FEEDS, repeats=1)
    assert random_feeds(open_session(open_sizes), 2, (3, 8, 9))["input"].shape == (2, 3, 8, 9)
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot run the model"):
        profile_onnx(open_sizes, partial(random_feeds, batch=1, shape=(3, 1, 1)), repeats=1)
