"""The table of measured layers: measured once, kept on disk, other machines' and damaged lines left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convslim.measure.kernels import profile_onnx
from convslim.measure.layer_shape import LayerShape
from convslim.measure.layer_table import ROUNDS, CacheWarning, LayerTable, cache_folder
from convslim.measure.machine import Identity
from convslim.measure.one_int8_layer import int8_layer
from convslim.measure.one_layer import AROUND, Build, float_layer, layer_ms

HERE = Identity("some processor", 2, "runtime 1.0", 1)
SHAPES = [LayerShape("linear", 1, 8 * width, 16) for width in (1, 2, 3)]


class Measurer:
    """Milliseconds without a clock; counts what was asked of it."""

    def __init__(self, factor: float = 1.0) -> None:
        self.asked: list[LayerShape] = []
        self.factor = factor

    def __call__(self, shape: LayerShape) -> float:
        self.asked.append(shape)
        return self.factor * shape.in_channels / 8


def table(folder: Path | None, measure: Measurer, identity: Identity = HERE, mode: str = "float32") -> LayerTable:
    return LayerTable(identity, mode, measure, folder)


def refuse(shape: LayerShape) -> float:
    raise AssertionError(f"{shape} was measured again")


def test_what_was_measured_is_found_again(tmp_path: Path) -> None:
    first = table(tmp_path, Measurer()).times(SHAPES[:2])
    assert LayerTable(HERE, "float32", refuse, tmp_path).times(SHAPES[:2]) == first == {SHAPES[0]: 1.0, SHAPES[1]: 2.0}


def test_only_what_is_missing_is_measured_and_every_shape_once_a_round(tmp_path: Path) -> None:
    table(tmp_path, Measurer()).times(SHAPES[:2])
    measure = Measurer()
    found = table(tmp_path, measure).times([SHAPES[2], SHAPES[0], SHAPES[2]])
    assert measure.asked == [SHAPES[2]] * ROUNDS
    assert list(found) == [SHAPES[2], SHAPES[0]]


def test_the_fastest_of_the_rounds_counts() -> None:
    times = iter([5.0, 3.0])
    assert LayerTable(HERE, "float32", lambda shape: next(times), None).times(SHAPES[:1]) == {SHAPES[0]: 3.0}


@pytest.mark.parametrize(
    "other", [replace(HERE, cpu="other"), replace(HERE, cores=4), replace(HERE, runtime="2"), replace(HERE, threads=2)]
)
def test_another_machine_measures_for_itself(tmp_path: Path, other: Identity) -> None:
    table(tmp_path, Measurer()).times(SHAPES)
    assert table(tmp_path, Measurer(7.0), other).times(SHAPES)[SHAPES[0]] == 7.0
    assert table(tmp_path, Measurer(5.0), mode="int8").times(SHAPES)[SHAPES[0]] == 5.0
    assert LayerTable(HERE, "float32", refuse, tmp_path).times(SHAPES)[SHAPES[0]] == 1.0


def test_lines_of_another_machine_in_the_same_file_do_not_count(tmp_path: Path) -> None:
    mine, theirs = table(tmp_path, Measurer()), table(tmp_path, Measurer(9.0), replace(HERE, cpu="other"))
    mine.times(SHAPES[:1])
    theirs.times(SHAPES)
    assert mine.path is not None
    assert theirs.path is not None
    with mine.path.open("a") as file:
        file.write(theirs.path.read_text())
    assert mine.times(SHAPES) == {shape: float(number) for number, shape in enumerate(SHAPES, 1)}


@pytest.mark.parametrize("damage", ['{"machine": {"cpu', "[]", '{"ms": 1}', "\x00\xff", "{}"])
def test_a_damaged_line_is_left_out_with_a_warning(tmp_path: Path, damage: str) -> None:
    mine = table(tmp_path, Measurer())
    mine.times(SHAPES[:2])
    assert mine.path is not None
    lines = mine.path.read_text().splitlines()
    mine.path.write_text("\n".join([lines[0], damage]))
    measure = Measurer()
    with pytest.warns(CacheWarning, match="1 damaged lines; they are left out"):
        found = table(tmp_path, measure).times(SHAPES[:2])
    assert found == {SHAPES[0]: 1.0, SHAPES[1]: 2.0}
    assert measure.asked == [SHAPES[1]] * ROUNDS
    assert LayerTable(HERE, "float32", refuse, tmp_path).times(SHAPES[:2]) == found  # whole again, without a warning


@pytest.mark.parametrize("ms", ["-1", "0", "NaN", "Infinity", '"fast"', "null"])
def test_a_time_that_is_none_is_damage(tmp_path: Path, ms: str) -> None:
    mine = table(tmp_path, Measurer())
    mine.times(SHAPES[:1])
    assert mine.path is not None
    mine.path.write_text(mine.path.read_text().replace('"ms": 1.0', f'"ms": {ms}'))
    with pytest.warns(CacheWarning):
        assert table(tmp_path, Measurer(3.0)).times(SHAPES[:1]) == {SHAPES[0]: 3.0}


def test_what_another_process_added_meanwhile_stays(tmp_path: Path) -> None:
    mine = table(tmp_path, Measurer())

    def measure(shape: LayerShape) -> float:
        mine.times(SHAPES[1:2])
        return 1.0

    LayerTable(HERE, "float32", measure, tmp_path).times(SHAPES[:1])
    assert LayerTable(HERE, "float32", refuse, tmp_path).times(SHAPES[:2]) == {SHAPES[0]: 1.0, SHAPES[1]: 2.0}


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    mine = table(tmp_path / "file" / "folder", Measurer())
    with pytest.warns(CacheWarning, match="cannot be kept in .*measured again"):
        assert mine.times(SHAPES[:1]) == {SHAPES[0]: 1.0}


def test_progress_is_told_in_measurements(tmp_path: Path) -> None:
    steps, totals = [], []

    def start(total: int):
        totals.append(total)
        return lambda: steps.append(1)

    mine = table(tmp_path, Measurer())
    mine.times(SHAPES, on_start=start)
    mine.times(SHAPES, on_start=start)
    assert totals == [ROUNDS * len(SHAPES)] == [len(steps)]


@given(
    st.sampled_from(["conv", "conv_transpose"]),
    st.lists(st.integers(1, 5), min_size=2, max_size=2),
    st.integers(1, 4),
    st.lists(st.integers(1, 9), min_size=1, max_size=2),
)
def test_shapes_survive_json(kind, widths, groups, size) -> None:
    ones = (1,) * len(size)
    shape = LayerShape(kind, 2, groups * widths[0], groups * widths[1], groups, tuple(size), ones, ones, ones, ones)
    assert LayerShape.from_data(json.loads(json.dumps(shape.to_data()))) == shape


def test_the_cache_is_where_the_system_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "convslim"
    for unset in ("", "relative/path"):  # the standard says to ignore relative ones
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache_folder() == Path.home() / ".cache" / "convslim"


KINDS = pytest.mark.parametrize(
    "shape",
    [
        LayerShape("linear", 2, 24, 8),
        LayerShape("conv", 1, 8, 16, 1, (6, 6), (3, 3), (2, 2), (1, 1), (1, 1)),
        LayerShape("conv", 1, 8, 8, 8, (6, 6), (3, 3), (1, 1), (1, 1), (1, 1)),
        LayerShape("conv", 1, 8, 12, 4, (9,), (3,), (1,), (2,), (2,)),
        LayerShape("conv_transpose", 1, 8, 12, 2, (4, 4), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)),
    ],
    ids=str,
)


@KINDS
@pytest.mark.parametrize("build", [float_layer, int8_layer])
def test_every_kind_of_layer_runs(shape: LayerShape, build: Build) -> None:
    assert layer_ms(shape, build) > 0


@KINDS
def test_int8_layers_run_in_integers(shape: LayerShape) -> None:
    feeds = {"x": np.zeros(shape.input_shape, np.float32)}
    layers = [kernel for kernel in profile_onnx(int8_layer(shape), feeds, repeats=1) if kernel.operation not in AROUND]
    # ONNX Runtime has no transposed convolution in integers.
    assert [kernel.integer for kernel in layers] == [shape.kind != "conv_transpose"]
