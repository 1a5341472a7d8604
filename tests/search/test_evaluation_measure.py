"""What candidates are measured by: labels by default, and anything else that compares outputs with targets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.search.test_evaluation_choice import some_plan
from torch import Tensor, nn

import convslim
from convslim.errors import DataError, ModelError
from convslim.search import evaluation_choice
from convslim.search.begin import begin
from convslim.search.candidate import Candidate
from convslim.search.evaluation import Evaluation
from convslim.search.evaluation_choice import build_evaluator
from convslim.search.evaluation_images import JudgingImages
from convslim.search.evaluation_measure import Labels
from convslim.search.evaluation_removal import RemovalEvaluator
from convslim.search.evaluation_views import ViewEvaluator
from convslim.search.ledger import RESULT
from convslim.search.settings import SearchSettings
from convslim.search.space import search_space


class TwoMaps(nn.Module):
    """Maps of two sizes, in a dictionary, as a detector gives them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(16, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.fine, self.coarse = nn.Conv2d(16, 5, 1), nn.Conv2d(24, 5, 1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        fine = self.stem(x)
        return {"fine": self.fine(fine), "coarse": [self.coarse(self.down(fine))]}


@dataclass
class Near:
    """How near the mean of both maps is to the target, in the order in which images came."""

    seen: list[float] = field(default_factory=list)

    def add_(self, outputs: Any, targets: Sequence[str]) -> None:
        found = outputs["fine"].mean((1, 2, 3)) + outputs["coarse"][0].mean((1, 2, 3))
        self.seen += [
            1 / (1 + abs(float(value) - float(text))) for value, text in zip(found.float(), targets, strict=True)
        ]

    def is_hopeless(self, below: float, **known: Any) -> bool:
        return False

    def evaluation(self, *, complete: bool, seconds: float) -> Evaluation:
        return Evaluation(None, len(self.seen), complete, seconds, sum(self.seen) / len(self.seen))


class ByNearness:
    """Targets are words."""

    def checked(self, outputs: Any, images: Tensor, targets: Sequence[str]) -> Any:
        if not isinstance(outputs, dict):
            raise ModelError("Two maps are needed.")
        assert outputs["fine"].shape[2:] == images.shape[2:]
        return outputs

    def tally(self) -> Near:
        return Near()


@pytest.fixture
def images() -> JudgingImages:
    torch.manual_seed(1)
    targets = [str(number / 10) for number in range(20)]
    return JudgingImages([torch.randn(8, 3, 16, 16)], torch.randn(20, 3, 16, 16), targets, 8, ByNearness())


def by_hand(plan: convslim.PruningPlan, images: JudgingImages) -> float:
    small = convslim.remove(TwoMaps().eval(), plan, images.images[:1]).eval()
    for norm in (module for module in small.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True
    near = Near()
    with torch.no_grad():
        for batch in images.calibration:
            small(batch)
        near.add_(small.eval()(images.images), images.targets)  # type: ignore[arg-type]
    return sum(near.seen) / len(near.seen)


@pytest.mark.parametrize("sliced", [True, False])
def test_any_outputs_and_targets_are_measured(images: JudgingImages, sliced: bool, monkeypatch: pytest.MonkeyPatch):
    model = TwoMaps().eval()
    graph = convslim.trace(model, images.images[:1])
    if not sliced:
        monkeypatch.setattr(evaluation_choice, "_ways", lambda *_: [])
    judge = build_evaluator(model, graph, images.images[:1], images, precision="32")
    assert isinstance(judge, ViewEvaluator if sliced else RemovalEvaluator)
    values = set()
    for seed in (1, 2, 3):
        plan = some_plan(graph, seed)
        found = judge(plan, hopeless_below=0.999)  # which nothing reaches, and nothing is given up for
        assert found.measured == pytest.approx(by_hand(plan, images), rel=1e-5)
        assert (found.correct, found.total, found.complete) == (None, 20, True)
        values.add(found.measured)
    assert len(values) == 3


def test_every_output_has_to_be_that_of_removal(images: JudgingImages, monkeypatch: pytest.MonkeyPatch):
    """A way that is wrong in the smaller of two maps alone is not taken."""
    model = TwoMaps().eval()
    outputs = ViewEvaluator.outputs

    def strange(self: ViewEvaluator, plan: convslim.PruningPlan) -> list[Tensor]:
        fine, coarse = outputs(self, plan)
        return [fine, coarse * torch.nan if self._shell.whole else coarse]

    monkeypatch.setattr(ViewEvaluator, "outputs", strange)
    graph = convslim.trace(model, images.images[:1])
    judge = build_evaluator(model, graph, images.images[:1], images, precision="32")
    assert isinstance(judge, RemovalEvaluator)
    assert "the outputs of a trial candidate differ by nan" in judge.reason


def test_a_network_for_another_task_is_refused(images: JudgingImages):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 14), nn.Flatten()).eval()
    graph = convslim.trace(model, images.images[:1])
    with pytest.raises(ModelError, match="Two maps are needed"):
        build_evaluator(model, graph, images.images[:1], images)
    labeled = JudgingImages(images.calibration, images.images, torch.zeros(20, dtype=torch.long))
    with pytest.raises(ModelError, match=r"returned dict for a batch .* candidates are judged by class scores"):
        build_evaluator(
            TwoMaps().eval(), convslim.trace(TwoMaps().eval(), images.images[:1]), images.images[:1], labeled
        )


def test_targets_follow_their_images(images: JudgingImages):
    marked = JudgingImages(
        images.calibration, torch.arange(20.0).reshape(20, 1, 1, 1), images.targets, 8, images.measure
    )
    mixed = marked.shuffled(3)
    assert mixed.targets != marked.targets
    assert mixed.measure is marked.measure
    for batch, targets in mixed.batches():
        assert [float(text) * 10 for text in targets] == pytest.approx(batch.flatten().tolist())
    with pytest.raises(DataError, match=r"20 images to judge on come with targets of shape \(19,\)"):
        JudgingImages(images.calibration, images.images, list(images.targets)[1:], 8)


@pytest.mark.parametrize(
    ("outputs", "labels", "error", "words"),
    [
        (torch.zeros(2, 3, 1), [0, 1], ModelError, r"returned \(2, 3, 1\) for a batch"),
        ([torch.zeros(2, 3)], [0, 1], ModelError, "returned list for a batch"),
        (torch.zeros(1, 3), [0, 1], ModelError, r"a tensor of shape \(2, num_classes\)"),
        (torch.zeros(2, 3), [0, 3], DataError, "Labels run from 0 to 3, but the network scores 3 classes"),
        (torch.zeros(2, 3), [-1, 0], DataError, "Labels run from -1"),
    ],
)
def test_labels_want_class_scores(outputs: Any, labels: list[int], error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        Labels().checked(outputs, torch.zeros(2, 1, 4, 4), torch.tensor(labels))


def test_a_search_keeps_values(images: JudgingImages, tmp_path: Path):
    """And the records and storages of searches that count have the keys that they always had."""
    model = TwoMaps().eval()
    graph = convslim.trace(model, images.images[:1])
    space = search_space(graph, convslim.score(graph, model, "l1"), {"macs": 0.6}, round_to=1)
    judge = build_evaluator(model, graph, images.images[:1], images, precision="32")
    settings = SearchSettings(population=4, generations=2)
    search = begin(space, judge, settings, tmp_path / "search.db")
    found = search.work()
    assert [each.fitness for each in found.candidates] == [(each.value,) for each in found.candidates]
    assert len({each.value for each in found.candidates}) > 2
    again = begin(space, judge, settings, tmp_path / "search.db").work()
    assert json.dumps(again.to_data()) == json.dumps(found.to_data())
    entry = found.to_data()["candidates"][0]
    assert (entry["correct"], entry["total"]) == (None, 20)
    assert entry["value"] == found.candidates[0].measured
    written = [trial.user_attrs[RESULT] for trial in search.ledger.study.trials]
    assert {each["correct"] for each in written} == {None}
    assert {each["value"] for each in written} == {each.value for each in found.candidates}


def test_what_counts_is_written_as_before():
    counted = Evaluation(3, 4, True, 0.1)
    assert counted.outcome() == {"correct": 3, "total": 4}
    candidate = Candidate(0, 1, {}, (), "k", {"macs": 2}, (), (0.75,), 3, 4, True, 0.1)
    keys = (
        "name generation parents genome widths costs fitness correct total complete seconds shared_with forecast plan"
    )
    assert list(candidate.to_data()) == keys.split()
    assert candidate.measured == 0.75
