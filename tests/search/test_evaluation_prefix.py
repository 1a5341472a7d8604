"""Kept activations of first layers change nothing but the time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.search.test_evaluation_choice import built, some_plan
from torch import Tensor, fx, nn

import convslim
from convslim.channels.graph import ChannelGraph
from convslim.errors import ModelError
from convslim.search import evaluation_prefix
from convslim.search.evaluation_choice import build_evaluator
from convslim.search.evaluation_images import JudgingImages
from convslim.search.evaluation_prefix import MOST_CUTS, Prefixes
from convslim.search.evaluation_views import ViewEvaluator
from convslim.surgery.plan import PruningPlan


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return built("resnet20").eval()


@pytest.fixture(scope="module")
def graph(resnet: nn.Module) -> ChannelGraph:
    return convslim.trace(resnet, torch.zeros(1, 3, 8, 8), ways=("class",))


@pytest.fixture(scope="module")
def images() -> JudgingImages:
    torch.manual_seed(0)
    batches = list(torch.randn(2, 16, 3, 8, 8))
    return JudgingImages(batches, torch.randn(48, 3, 8, 8), torch.arange(48) % 10, 16)


@pytest.fixture(scope="module")
def plain(resnet: nn.Module, graph: ChannelGraph, images: JudgingImages) -> ViewEvaluator:
    """Keeps nothing."""
    judge = evaluator(resnet, graph, images)
    judge._prefixes = None
    return judge


def evaluator(model: nn.Module, graph: ChannelGraph, images: JudgingImages) -> ViewEvaluator:
    judge = build_evaluator(model, graph, images.images[:1], images, precision="32")
    assert isinstance(judge, ViewEvaluator)
    return judge


def children(graph: ChannelGraph, number: int) -> Iterator[PruningPlan]:
    """Candidates that differ in one group each, as those of a search do."""
    rng = np.random.default_rng(0)
    groups = list(graph.prunable)
    widths = {group.name: group.num_channels * 3 // 4 for group in groups}
    for _ in range(number):
        group = groups[int(rng.integers(len(groups)))]
        widths[group.name] = int(rng.integers(group.num_channels // 2, group.num_channels + 1))
        yield convslim.make_plan(graph, {name: range(width) for name, width in widths.items()})


def prefixes(judge: ViewEvaluator) -> Prefixes:
    assert judge._prefixes is not None
    return judge._prefixes


def test_candidates_are_judged_as_without(
    resnet: nn.Module, graph: ChannelGraph, images: JudgingImages, plain: ViewEvaluator
):
    judge = evaluator(resnet, graph, images)
    for number, plan in enumerate(children(graph, 12)):
        below = 0.5 if number % 3 == 2 else None  # given up after the first images: fewer activations are known
        found, wanted = judge(plan, hopeless_below=below), plain(plan, hopeless_below=below)
        assert (found.correct, found.total) == (wanted.correct, wanted.total)
        assert torch.equal(judge.outputs(plan)[0], plain.outputs(plan)[0])
    skipped, whole = prefixes(judge).saved
    assert 0.2 < skipped / whole < 0.9


def test_channels_of_the_same_number_are_told_apart(
    resnet: nn.Module, graph: ChannelGraph, images: JudgingImages, plain: ViewEvaluator
):
    judge = evaluator(resnet, graph, images)
    for first in (0, 4):
        plan = convslim.make_plan(graph, {"layer1.0.conv1": range(first, first + 8)})
        assert torch.equal(judge.outputs(plan)[0], plain.outputs(plan)[0])


def test_memory_is_bounded(
    resnet: nn.Module,
    graph: ChannelGraph,
    images: JudgingImages,
    plain: ViewEvaluator,
    monkeypatch: pytest.MonkeyPatch,
):
    one = evaluator(resnet, graph, images)
    plan = next(children(graph, 1))
    one(plan)
    needed = sum(kept.size for kept in prefixes(one)._kept.values())
    small = evaluator(resnet, graph, images)
    monkeypatch.setattr(prefixes(small), "_memory", 2 * needed)
    for plan in children(graph, 10):
        assert small(plan).correct == plain(plan).correct
        assert sum(kept.size for kept in prefixes(small)._kept.values()) <= 3 * needed
    for plan in children(graph, 4):  # again: much of it is forgotten
        assert small(plan).correct == plain(plan).correct


def test_a_candidate_that_failed_leaves_nothing_behind(
    resnet: nn.Module,
    graph: ChannelGraph,
    images: JudgingImages,
    plain: ViewEvaluator,
    monkeypatch: pytest.MonkeyPatch,
):
    judge = evaluator(resnet, graph, images)
    plan, run_node, ran = some_plan(graph, 3), fx.Interpreter.run_node, 0

    def failing(self: fx.Interpreter, node: fx.Node) -> object:
        nonlocal ran
        ran += 1
        if ran == 60:  # in the second of two batches
            raise MemoryError("no memory left")
        return run_node(self, node)

    monkeypatch.setattr(fx.Interpreter, "run_node", failing)
    with pytest.raises(ModelError, match="no memory left"):
        judge(plan)
    assert judge(plan).correct == plain(plan).correct


class Writing(nn.Module):
    """Writes into a map that others read."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        y = self.second(x)
        x.mul_(0.5)
        return self.head((x + y).mean((2, 3)))


def test_a_network_that_writes_into_its_maps_has_no_cuts(images: JudgingImages):
    torch.manual_seed(0)
    model = Writing().eval()
    judge = evaluator(model, convslim.trace(model, images.images[:1]), images)
    assert judge._prefixes is None


def test_cuts_are_few_and_in_order(resnet: nn.Module, graph: ChannelGraph, images: JudgingImages):
    cuts = prefixes(evaluator(resnet, graph, images))._cuts
    assert 1 < len(cuts) <= MOST_CUTS
    assert [cut.place for cut in cuts] == sorted(cut.place for cut in cuts)
    assert all(set(left.tensors) < set(right.tensors) for left, right in pairwise(cuts))
    assert evaluation_prefix.MEMORY == 2**30
