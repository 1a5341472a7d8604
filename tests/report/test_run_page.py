"""The page of a run: everything that its record holds is shown, nothing is taken as markup, no network is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.report.outline import outline
from tests.report.run_samples import EVIL, PIXEL, confusion, detection, epochs, everything, record, samples, step, write
from typer.testing import CliRunner

from convslim.cli import app
from convslim.errors import ArtifactError
from convslim.pipeline import parse_recipe
from convslim.report.comparison_page import comparison_page
from convslim.report.run_files import read_run, read_runs
from convslim.report.run_page import SECTIONS, run_page
from convslim.report.sections.headline import facts
from convslim.report.sections.origin import recipe_text


@pytest.fixture
def page(tmp_path: Path) -> str:
    return run_page(read_run(write(tmp_path / "run", record())))


def test_every_section_is_there(page: str):
    names = {make.__name__ for make in SECTIONS} - {"classes"}
    assert names <= set(re.findall(r'<section id="(\w+)"', page))
    assert "classes" not in names & set(re.findall(r'<section id="(\w+)"', page))


def test_elements_close_ids_are_unique_and_links_lead_somewhere(page: str):
    found = outline(page)
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert [target for target in found.targets if target not in ("data:,", PIXEL) and target[1:] not in found.ids] == []


def test_nothing_from_outside_is_markup(page: str, tmp_path: Path):
    assert EVIL not in page
    assert "onerror" not in outline(page).names
    assert set(re.findall(r'<img src="([^"]*)"', page)) == {PIXEL}
    assert "A </script> CPU" not in page
    other = run_page(read_run(write(tmp_path / "other", record(steps=detection()))))
    assert not {"img", "onerror"} & outline(other).names


def test_data_of_the_page_is_the_record(page: str):
    data = re.search(r'<script type="application/json" id="record">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["name"] == EVIL


def test_headline_says_before_after_and_spread(page: str):
    head = re.sub(r"<[^>]+>", "", page[page.index("<dl") : page.index("</dl>")]).replace("\u00a0", " ")
    for words in ("95.00 % → 92.00 %", "−3.00 points", "100 k → 40.0 k", "40.0 % of it", "2 ms → ", "× as fast"):
        assert words in head
    assert "85.00–95.89 %" in head  # Wilson's interval of 92 of 100


def test_headline_is_of_the_integers_whose_accuracy_it_says_also_where_the_float_file_came_later(tmp_path: Path):
    data = record()
    steps = {each["kind"]: each for each in data["steps"]}
    times = {"original.onnx": 2.0, "model.onnx": 1.0, "model-int8.onnx": 0.5}
    timed = [{**steps["bench"]["latency"][0], "name": name, "median_ms": ms} for name, ms in times.items()]
    integers = {**steps["quantize"]["details"], "file": {"path": "model-int8.onnx"}}
    found = [{**steps["quantize"], "details": integers}, steps["export"], {**steps["bench"], "latency": timed}]
    files = write(tmp_path / "run", {**data, "steps": [data["steps"][0], *found]})
    for name, size in (("original.onnx", 9000), ("model.onnx", 4000), ("model-int8.onnx", 1000)):
        (files / name).write_bytes(bytes(size))
    shown = {fact.title: fact for fact in facts(read_run(files))}
    assert shown["File"].note == "model-int8.onnx beside original.onnx"
    assert shown["Latency"].change == "4.00× as fast"


def test_shapes_that_stand_for_numbers(page: str):
    text = page.replace("\u00a0", " ")
    assert "36 of 74 channels stayed" not in text
    assert "38 of 74 channels stayed" in text
    assert "threshold" in text
    assert "12 candidates in 3 generations, 9 of them evaluated" in text
    assert "given up early" in text
    assert "22.0 (lowest)" in text
    assert "exact" in text
    assert "Asked for: 1 ms; expected of the plan: 0.9 ms; measured, and kept." in text
    assert "1.0e-07 of the largest value" in text
    assert "pip install torch==2.13.0\n" in text


def test_classes_are_compared_with_those_of_the_whole_network(page: str):
    text = page.replace("\u00a0", " ")
    assert "Confusions, step 1 train" in text
    assert "Confusions, step 8 quantize" in text
    assert "cat: +1.7 points (−4.7 to +7.9); 1 lost, 2 won of 60 images" in text
    changes = text[text.index("Change by class") :]
    assert changes.index("dog") < changes.index("cat")
    assert "1 of 40 taken for output 7, 2.5 %" in text
    assert "All in all 5 were lost and 2 won." in text
    assert text.count('<ul class="gallery">') == 2


def test_confusions_without_an_evaluation_before(tmp_path: Path):
    data = record(name="cut", steps=[step("prune", 40_000, 92, confusion=confusion())])
    text = run_page(read_run(write(tmp_path / "run", data)))
    assert "Confusions, step 1 prune" in text
    assert "Change by class" not in text
    assert 'id="samples"' not in text


def test_more_than_a_hundred_classes_are_listed(tmp_path: Path):
    names = [f"class {label}" for label in range(120)]
    found = {
        "names": names,
        "totals": [9] * 120,
        "right": [8] * 120,
        "pairs": [[label, 0, 1] for label in range(1, 99)],
    }
    found |= {"since": 1, "lost": [1] * 60 + [0] * 60, "won": [0] * 60 + [1] * 60}
    steps = [
        step("evaluate", 100_000, 92, confusion={**found, "since": None}),
        step("prune", 40_000, 92, confusion=found),
    ]
    text = run_page(read_run(write(tmp_path / "run", record(name="many", steps=steps))))
    assert "the most frequent ones" in text
    assert "the first and last 15 of 120 classes" in text
    assert "heat" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)


def test_records_of_earlier_versions_are_shown(tmp_path: Path):
    data = record(name="old")
    for each in data["steps"]:
        each.pop("confusion", None)
        each.pop("samples", None)
    text = run_page(read_run(write(tmp_path / "run", data)))
    assert 'id="confusions"' not in text
    assert 'id="steps"' in text


@pytest.mark.parametrize(
    "change",
    [
        {"right": [61, 0, 0]},
        {"right": [1]},
        {"totals": [-1, 40, 0]},
        {"lost": [60, 0, 0]},
        {"pairs": [[3, 0, 1]]},
    ],
)
def test_impossible_counts_are_damage(change: dict[str, object], tmp_path: Path):
    data = record(name="bad", steps=[step("prune", 40_000, 92, confusion={**confusion(1), **change})])
    with pytest.raises(ArtifactError, match="Cannot read the run record"):
        read_run(write(tmp_path / "run", data))


@pytest.mark.parametrize("picture", ["http://127.0.0.1/x.png", "javascript:0", 'data:image/png;base64,A" onerror="0'])
def test_pictures_are_pictures(picture: str, tmp_path: Path):
    found = [{**samples()[0], "picture": picture}]
    data = record(name="bad", steps=[step("prune", 40_000, 92, confusion=confusion(1), samples=found)])
    with pytest.raises(ArtifactError, match="Cannot read the run record"):
        read_run(write(tmp_path / "run", data))


def test_detectors_are_shown_by_average_precision(tmp_path: Path):
    text = run_page(read_run(write(tmp_path / "run", record(steps=detection())))).replace("\u00a0", " ")
    assert "mAP against cost" in text
    assert "−5.00" in text  # points of the class
    assert "Precision and recall, step 2 finetune" in text
    assert "42.50 %" in text  # COCO's AP
    assert "with 95 % intervals" not in text  # none is known of it


@pytest.mark.parametrize("steps", [[], [step("train", 100_000)], [step("evaluate", 100_000, 100)]])
def test_runs_that_only_began(steps: list[dict[str, object]], tmp_path: Path):
    data = {**record(name="begun", steps=steps), "base_macs": 100_000}
    data["recipe"]["steps"] = [{"train": {}}, {"prune": {}}]
    text = run_page(read_run(write(tmp_path / "run", data, cut=False)))
    assert f"unfinished: {len(steps)} of 2 steps" in text
    assert outline(text).open == []


def test_one_epoch_is_a_point(tmp_path: Path):
    data = record(name="short", steps=[step("train", 100_000, 50, details={"epochs": epochs(1)})])
    assert "over 1 epochs" in run_page(read_run(write(tmp_path / "run", data, cut=False)))


def test_the_recipe_can_be_run_again(tmp_path: Path):
    data = {"name": "n", "model": {"spec": "digits_cnn"}, "data": {"spec": "digits"}, "steps": ["evaluate", "export"]}
    recipe = parse_recipe(data)
    run = read_run(write(tmp_path / "run", {**record(), "recipe": recipe.to_data()}))
    assert parse_recipe(yaml.safe_load(recipe_text(run.record))) == recipe


def test_reports_need_no_torch(tmp_path: Path):
    write(tmp_path / "a", record("a"))
    write(tmp_path / "b", record("b"))
    code = (
        "import sys; from convslim.cli import app\n"
        "for words in (['report', 'a'], ['report', 'a', 'b', '--out', 'both.html']):\n"
        "    app(words, standalone_mode=False)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Report:", "a/report.html", "Report:", "both.html", "False"]
    assert "2 runs side by side" in (tmp_path / "both.html").read_text(encoding="utf-8")


def test_comparison_has_all_runs(tmp_path: Path):
    folders = [write(tmp_path / name / "run", record("same", everything())) for name in ("x", "y")]
    folders.append(write(tmp_path / "z", record("other", detection())))
    result = CliRunner().invoke(app, ["report", *map(str, folders), "--out", str(tmp_path / "c.html")])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "c.html").read_text(encoding="utf-8")
    found = outline(text)
    assert found.open == []
    assert "onerror" not in found.names
    assert "x/run, y/run, other" in text


@pytest.mark.parametrize(("number", "drawings"), [(12, 1), (13, 2)])
def test_twelve_runs_share_a_drawing(number: int, drawings: int, tmp_path: Path):
    steps = [step("train", 100_000, 95), step("prune", 40_000, 80)]
    folders = [write(tmp_path / f"run-{place}", record(f"run {place}", steps)) for place in range(1, number + 1)]
    text = comparison_page(read_runs(folders))
    assert text.count("against cost") == 2 * drawings  # the title, and the caption of its numbers
    assert "s11" in text
    assert "12 run 12" in text
    assert text.count(">13 run 13<") == 0  # the second drawing counts anew


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "record.json").write_text("{"), "Cannot read the run record"),
        (lambda folder: (folder / "record.json").unlink(), "No step of the run"),
        (lambda folder: (folder / "model" / "plan.json").write_text("[]"), "is damaged"),
        (lambda folder: [(folder / name).unlink() for name in ("record.json", "recipe.json")], "Give the record.json"),
    ],
)
def test_what_cannot_be_read_is_named(damage, message: str, tmp_path: Path):
    folder = write(tmp_path / "run", record())
    damage(folder)
    with pytest.raises(ArtifactError, match=message):
        read_run(folder)


def test_a_run_is_given_once(tmp_path: Path):
    folder = write(tmp_path / "run", record())
    with pytest.raises(ArtifactError, match="given twice"):
        read_runs([folder, folder / "record.json"])
