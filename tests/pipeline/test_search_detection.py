"""Step `search` on detectors: candidates are measured by mean average precision, and all that searches do works."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.data.voc_sample import write_sample
from tests.pipeline.test_detection import HEAD, PLAIN, SHORT, SIDE, TRAIN
from tests.pipeline.test_search_latency import Paper
from tests.search.test_evaluation_choice import some_plan
from tests.search.test_evaluation_prefix import children
from tests.test_cli import call

import convslim
import convslim.pipeline.timer as timer_module
from convslim.channels.graph import ChannelGraph
from convslim.data import open_data
from convslim.data.detection import DetectionSplit
from convslim.detection.own_heads import OwnHeads
from convslim.errors import DataError
from convslim.pipeline import Recipe, load_recipe, parse_recipe, run
from convslim.pipeline.run import before_step
from convslim.pipeline.source import open_source
from convslim.pipeline.state import Context, State
from convslim.pipeline.steps.search_images import Judging, judging_images
from convslim.pipeline.steps.search_measure import TaskMeasure, measure_of
from convslim.report import RunRecord
from convslim.report.run_files import read_run
from convslim.report.run_page import run_page
from convslim.search.evaluation_choice import build_evaluator
from convslim.search.evaluation_removal import RemovalEvaluator
from convslim.search.evaluation_views import ViewEvaluator
from convslim.train import evaluate, recalibrate

SCRIPT = Path(__file__).with_name("killed_search.py")
SEARCH = {"budget": {"macs": 0.8}, "linear": False, "population": 4, "generations": 2, "num_batches": 2}
STEPS: list[Any] = [
    {"train": {**TRAIN, "epochs": 40, "warmup_epochs": 2}},
    {"sparsify": {**SHORT, "strength": 1e-3, "method": "proximal", "linear": False}},
    {"search": {**SEARCH, "batch_size": 5, "num_images": 5}},
    {"recalibrate": {"num_batches": 2, "batch_size": 5}},
    {"finetune": {**SHORT, "epochs": 2}},
]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("voc") / "sample", side=SIDE)


def options(**more: Any) -> dict[str, Any]:
    return {"train": "train", "side": SIDE, "workers": 0, "augmentation": PLAIN, **more}


@pytest.fixture(scope="module")
def recipe(sample: Path) -> Recipe:
    data = {"spec": f"voc:{sample}", "options": options(holdout=5)}
    return parse_recipe({**HEAD, "data": data, "steps": STEPS})


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    out = tmp_path_factory.mktemp("whole") / "run"
    return run(recipe, out, quiet=True), out


def test_candidates_are_measured_by_average_precision(whole: tuple[RunRecord, Path]):
    record, out = whole
    details = record.steps[2].details
    candidates, found = details["search"]["candidates"], details["search"]
    assert [each["correct"] for each in candidates] == [None] * 8
    assert all(each["complete"] and each["total"] == 5 for each in candidates)
    assert [each["fitness"] for each in candidates] == [[each["value"]] for each in candidates]
    assert len({each["value"] for each in candidates}) > 2
    best = next(each for each in candidates if each["name"] == found["best"])
    assert best["value"] == max(each["value"] for each in candidates)
    assert all(each["costs"]["macs"] <= 0.8 * record.base_macs for each in candidates)
    assert record.steps[2].macs == best["costs"]["macs"]
    assert details["held_out"]
    assert details["evaluator"] == "ViewEvaluator"
    assert {step.measure for step in record.steps} == {"mAP@0.5"}
    page = run_page(read_run(out))
    assert "mAP@0.5 against MACs of 8 candidates" in page
    assert "ccuracy is of held-out" not in page


def judging(recipe: Recipe) -> Judging:
    return judging_images(open_source(recipe), num_images=5, num_batches=2, batch_size=5, seed=0)


@pytest.fixture(scope="module")
def sliced(whole: tuple[RunRecord, Path], recipe: Recipe) -> tuple[State, Context, ChannelGraph, ViewEvaluator]:
    """What the step judges by, in float32."""
    state, context = before_step(recipe, whole[1], 3, quiet=True)
    graph = convslim.trace(state.model, context.example_input)
    judge = build_evaluator(state.model, graph, context.example_input, judging(recipe).images, precision="32")
    assert isinstance(judge, ViewEvaluator)
    return state, context, graph, judge


def test_a_value_is_that_of_the_removed_network(
    sliced: tuple[State, Context, ChannelGraph, ViewEvaluator], recipe: Recipe
):
    """Slices, and removal; beside `remove`, `recalibrate` and `evaluate` on the same images."""
    state, context, graph, judge = sliced
    source, example = context.source, context.example_input
    removed = RemovalEvaluator(state.model, graph, example, judging(recipe).images)
    assert source.holdout is not None
    values = []
    for seed in range(1, 5):
        plan = some_plan(graph, seed)
        small = recalibrate(convslim.remove(state.model, plan, example), source.train, num_batches=2, batch_size=5)
        expected = evaluate(small, source.holdout, batch_size=5)
        values.append(expected.value)
        assert removed(plan).value == pytest.approx(expected.value, abs=1e-6)
        assert judge(plan).value == pytest.approx(expected.value, abs=1e-6)
        assert judge(plan, hopeless_below=1.0).complete
    assert len(set(values)) == 4


def test_kept_activations_change_no_map(
    sliced: tuple[State, Context, ChannelGraph, ViewEvaluator], monkeypatch: pytest.MonkeyPatch
):
    _, _, graph, judge = sliced
    plans = list(children(graph, 6))
    kept = [(judge(plan).value, judge.outputs(plan)) for plan in plans]
    assert judge._prefixes is not None
    assert judge._prefixes.saved[0] > 0
    monkeypatch.setattr(judge, "_prefixes", None)
    for plan, (value, maps) in zip(plans, kept, strict=True):
        assert judge(plan).value == value
        assert len(maps) == 3
        assert all(torch.equal(one, other) for one, other in zip(judge.outputs(plan), maps, strict=True))


def test_images_that_count_are_whole_and_of_the_training_set(recipe: Recipe):
    source = open_source(recipe)
    found = judging(recipe)
    assert found.held_out
    assert source.holdout is not None
    images, objects = next(iter(source.holdout.batches(5)))
    order = torch.randperm(5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found.images.images, images[order])
    pairs = zip(found.images.targets, [objects[place] for place in order.tolist()], strict=True)
    assert all(torch.equal(mine.boxes, wanted.boxes) and len(mine) for mine, wanted in pairs)
    assert {tuple(batch.shape) for batch in found.images.calibration} == {(5, 3, SIDE, SIDE)}


def test_images_without_objects_are_met_before_the_training(tmp_path: Path):
    data = write_sample(tmp_path / "voc", images=8, side=SIDE)
    for file in (data / "Annotations").glob("*.xml"):
        start, _, rest = file.read_text().partition("<object>")
        hard = rest.replace("<bndbox>", "<difficult>1</difficult><bndbox>")
        file.write_text(f"{start}<object>{hard}")
    described = {"spec": f"voc:{data}", "options": options()}
    recipe = parse_recipe({**HEAD, "data": described, "steps": [{"train": TRAIN | {"epochs": 1}}, *STEPS[2:3]]})
    with pytest.raises(DataError, match=r"Step 2 \(search\): No object counts in the 5 images .* judged on"):
        run(recipe, tmp_path / "run", quiet=True)
    assert not list((tmp_path / "run").glob("steps/01-*"))


def test_the_measure_of_boxes_is_the_tasks(sample: Path):
    """Without COCO's averages; heads may take views of what candidates give in the layout channels last."""
    split = open_data(f"voc:{sample}", **options()).test
    assert isinstance(split, DetectionSplit)
    annotated = split.annotated.images

    class Views:
        def loss(self, outputs: Any, targets: Any, shape: Any) -> torch.Tensor:
            return outputs.mean()

        def detect(self, outputs: Any, shape: Any) -> list[Any]:
            boxes = [image.objects.boxes * SIDE / image.size[0] for image in annotated]
            labels = [image.objects.labels for image in annotated]
            scores = outputs.view(len(outputs), -1)[:, 0].sigmoid()
            pairs = zip(boxes, labels, scores, strict=True)
            return [{"boxes": box, "labels": label, "scores": score.expand(len(label))} for box, label, score in pairs]

    measure = measure_of(replace(split, coco=True, heads=OwnHeads(Views(), "views")))
    assert isinstance(measure, TaskMeasure)
    images, objects = next(iter(split.batches(5)))
    outputs = torch.rand(5, 4, 3, 3).to(memory_format=torch.channels_last)
    tally = measure.tally()
    tally.add_(measure.checked(outputs, images, objects), objects)
    assert not tally.is_hopeless(1.0, total=5, looks=1, error=0.01)
    found = tally.evaluation(complete=True, seconds=0.1)
    assert (found.correct, found.total, found.value) == (None, 5, 1.0)
    assert not measure.split.coco  # type: ignore[attr-defined]


CODE = '''
import torch
from torch import nn


def built():
    """How sure it is of either class in every quarter of the image."""
    torch.manual_seed(0)
    layers = [(3, 12, 3), (12, 16, 2), (16, 16, 2)]
    parts = [(nn.Conv2d(a, b, 3, s, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()) for a, b, s in layers]
    return nn.Sequential(*sum(parts, ()), nn.AdaptiveMaxPool2d(2), nn.Conv2d(16, 2, 1)).eval()


class Heads:
    """Boxes stand in the middle of the quarters."""

    def loss(self, outputs, targets, shape):
        wanted = torch.zeros_like(outputs)
        for number, each in enumerate(targets):
            middles = (each.boxes[:, :2] + each.boxes[:, 2:]) // shape[3]
            wanted[number, each.labels, middles[:, 1].long(), middles[:, 0].long()] = 1
        return nn.functional.binary_cross_entropy_with_logits(outputs, wanted)

    def detect(self, outputs, shape):
        scores = outputs.sigmoid().reshape(len(outputs), 8)
        labels, places = torch.arange(8) // 4, torch.arange(8) % 4
        middles = (torch.stack([places % 2, places // 2], 1) + 0.5) * shape[3] / 2
        boxes = torch.cat([middles - 9, middles + 9], 1)
        return [dict(boxes=boxes, scores=score, labels=labels) for score in scores]
'''  # a small detector, on which processes are cheap


@pytest.fixture(scope="module")
def own(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord, Path]:
    """A recipe's file, and what comes out of it at once."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text(CODE)
    training = {"batch_size": 4, "lr": 0.01, "optimizer": "adam", "weight_decay": 0, "augment": False}
    search = {"criterion": "l1", "budget": {"macs": 0.6}, "round_to": 1, "population": 5, "generations": 3}
    data: dict[str, Any] = {
        "name": "own",
        "threads": 1,
        "model": {"spec": f"{folder / 'own.py'}:built", "heads": f"{folder / 'own.py'}:Heads"},
        "data": {"spec": f"voc:{sample}", "options": {**options(holdout=5), "train": "train"}},
        "steps": [
            {"train": {**training, "epochs": 15}},
            {"search": {**search, "num_batches": 2, "batch_size": 4, "num_images": 5, "precision": "32"}},
        ],
    }
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump(data))
    return file, run(load_recipe(file), folder / "run", quiet=True), folder / "run"


def found(record: RunRecord) -> dict[str, Any]:
    """What a search found, without times."""
    details: dict[str, Any] = json.loads(json.dumps(record.steps[1].details))
    for entry in [*details["search"]["candidates"], *details["search"]["generations"]]:
        entry["seconds"] = 0
    return {key: details[key] for key in ("search", "channels")}


def test_heads_of_the_users_read_held_out_images_too(own: tuple[Path, RunRecord, Path]):
    source = open_source(load_recipe(own[0]))
    for part in (source.train, source.test, source.holdout):
        assert isinstance(part.heads, OwnHeads)  # type: ignore[union-attr]
    values = {each["value"] for each in found(own[1])["search"]["candidates"]}
    assert len(values) > 1
    state, context = before_step(load_recipe(own[0]), own[2], 2, quiet=True)
    measured = evaluate(state.model, context.source.holdout, batch_size=5)  # type: ignore[arg-type]
    assert measured.measure == "mAP@0.5"


@pytest.mark.parametrize("ended_by", ["resume", "worker"])
def test_a_killed_search_ends_with_the_same_candidates(
    own: tuple[Path, RunRecord, Path], tmp_path: Path, ended_by: str
):
    storage = tmp_path / "search.journal"
    changes = [f"steps.search.storage={storage}", "steps.search.study=own"]
    sets = [word for change in changes for word in ("--set", change)]
    command = [sys.executable, str(SCRIPT), "7", "-", "run", str(own[0]), "--out", str(tmp_path / "run"), "--quiet"]
    killed = subprocess.run([*command, *sets], capture_output=True, text=True, timeout=240)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    if ended_by == "worker":
        best, number = (found(own[1])["search"][key] for key in ("best", "evaluated"))
        said = call("search", "worker", "--storage", storage, "--study", "own", "--quiet")
        assert f"The search is over: {number} candidates, best {best} with " in said
    record = run(load_recipe(own[0], changes), tmp_path / "run", resume=True, quiet=True)
    assert found(record) == found(own[1])
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (tmp_path / "run", own[2]))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "changes",
    [
        {"refit": True},
        {"objective": "pareto"},
        {"forecasts": 2, "table_widths": 1},
        *({"criterion": name} for name in ("taylor", "activeness", "reconstruction")),
    ],
)
def test_other_searches_run(own: tuple[Path, RunRecord, Path], tmp_path: Path, changes: dict[str, Any]):
    sets = [f"steps.search.{key}={value}" for key, value in {**changes, "generations": 2}.items()]
    record = run(load_recipe(own[0], ["steps.train.epochs=1", *sets]), tmp_path / "run", quiet=True)
    details = record.steps[1].details
    assert details["refit"] == changes.get("refit", False)
    assert record.steps[1].macs <= 0.6 * record.base_macs


@pytest.mark.parametrize("slower", [1.0, 1.3])
def test_a_latency_is_kept(
    own: tuple[Path, RunRecord, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slower: float
):
    monkeypatch.setattr(timer_module, "timing", Paper(slower=slower).timing)
    changes = ["steps.search.budget={ms: 2.8}", "steps.search.generations=1", "steps.train.epochs=1"]
    details = run(load_recipe(own[0], changes), tmp_path / "run", quiet=True).steps[1].details
    assert details["latency"]["measured"]["ms"] <= 1.05 * 2.8
    assert bool(details["corrected"]) == (slower != 1.0)
    for each in details["corrected"]:
        assert (each["correct"], each["total"], each["fitness"]) == (None, 5, each["value"])


def test_the_method_asks_for_guidance_that_fits(own: tuple[Path, RunRecord, Path], sample: Path, tmp_path: Path):
    code = own[0].with_name("own.py")
    words = ["run", "--method", "sparse-genetic", "--model", f"{code}:built", "--data", f"voc:{sample}", "--quiet"]
    sets = [f"model.heads={code}:Heads", "data.options={train: train, side: 64, workers: 0, holdout: 5}"]
    sets += ["search.population=2", "search.generations=1", "search.batch_size=5", "search.round_to=1"]
    sets += ["sparsify.epochs=1", "sparsify.aim=null", "sparsify.batch_size=5", "finetune.epochs=1"]
    sets += ["finetune.batch_size=5", "finetune.warmup_epochs=0", "recalibrate.batch_size=5"]
    full = [change if change.startswith(("model", "data")) else f"steps.{change}" for change in sets]
    arguments = [*words, "--budget", "macs=0.8", "--out", tmp_path / "run"]
    arguments += [word for change in full for word in ("--set", change)]
    said = call(*arguments, code=1)
    assert "Distillation by logits compares class scores" in said
    call(*arguments, "--set", "steps.finetune.distill={kind: attention}", "--overwrite")
    record = RunRecord.load(tmp_path / "run" / "record.json")
    assert [step.kind for step in record.steps].count("search") == 1
    assert record.steps[-1].macs <= 0.8 * record.base_macs
    measures = {step.measure for step in record.steps if step.measured is not None}
    assert measures == {"mAP@0.5"}
