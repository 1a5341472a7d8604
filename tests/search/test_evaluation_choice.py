"""Judging on slices gives what removal, fresh statistics and a count give, on networks of several kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import convslim
from convslim.channels.graph import ChannelGraph
from convslim.channels.program.assemble import assemble
from convslim.channels.tape import named_tensors
from convslim.data import DataSource, open_data
from convslim.errors import DataError, ModelError, PlanError
from convslim.search import evaluation_choice
from convslim.search.evaluation_choice import build_evaluator
from convslim.search.evaluation_images import JudgingImages
from convslim.search.evaluation_removal import RemovalEvaluator
from convslim.search.evaluation_views import ViewEvaluator
from convslim.surgery.plan import PruningPlan
from convslim.train import recalibrate


class Mixed(nn.Module):
    """Depthwise, grouped and concatenated layers, a bias before BatchNorm, a flattened map, another normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.left = nn.Conv2d(16, 12, 1)
        self.right = nn.Conv2d(16, 8, 3, padding=1)
        self.group_norm = nn.GroupNorm(4, 20)
        self.prelu = nn.PReLU(20)
        self.after = nn.Sequential(nn.Conv2d(20, 12, 3, stride=2, bias=False), nn.BatchNorm2d(12, affine=False))
        self.head = nn.Linear(12 * 9, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.depthwise(self.stem(x))))
        x = self.prelu(self.group_norm(torch.cat([self.left(x), self.right(x)], 1)))
        return self.head(self.after(x).flatten(1))


class SlicesItself(nn.Module):
    """Holds a parameter twice, as such and in a list that exchanging it does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.scale = nn.Parameter(torch.rand(8, 1, 1) + 0.5)
        self.held = [self.scale]
        self.last = nn.Conv2d(8, 10, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((self.conv(x) * self.held[0]).relu()).flatten(1)


def own(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: convslim.models.create(name, **options)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "digits_cnn": own("digits_cnn"),
    "resnet20": own("resnet20_cifar"),
    "resnet20, projections": own("resnet20_cifar_b"),
    "mixed": Mixed,
    "parameter in a list": SlicesItself,
}


@pytest.fixture(scope="module")
def digits() -> DataSource:
    return open_data("digits", holdout=0.1)


def judged(source: DataSource, model: nn.Module) -> JudgingImages:
    """Digits, as color images of 16×16 where the network takes such."""
    wide = next(parameter for parameter in model.parameters() if parameter.dim() == 4).shape[1] == 3

    def fitted(images: Tensor) -> Tensor:
        return nn.functional.interpolate(images, size=16).expand(-1, 3, -1, -1).contiguous() if wide else images

    assert source.holdout is not None
    calibration = [fitted(images) for images, _ in source.train.batches(32, seed=0, limit=64)]
    images, labels = next(iter(source.holdout.batches(144)))
    return JudgingImages(calibration, fitted(images), labels, 48)


def labels(images: JudgingImages) -> Tensor:
    assert isinstance(images.targets, Tensor)
    return images.targets


def built(name: str) -> nn.Module:
    """Random weights, with normalizations that are not trivial, in training mode as a user may have left it."""
    torch.manual_seed(0)
    model = NETWORKS[name]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
    return model


def some_plan(graph: ChannelGraph, seed: int) -> PruningPlan:
    rng = np.random.default_rng(seed)
    sizes = {group.name: group.num_channels for group in graph.prunable}
    kept = {name: rng.permutation(size)[: rng.integers(size // 2, size + 1)] for name, size in sizes.items()}
    return convslim.make_plan(graph, {name: np.sort(indices) for name, indices in kept.items()})


def by_hand(model: nn.Module, plan: PruningPlan, example: Tensor, images: JudgingImages) -> tuple[int, Tensor]:
    """Remove, estimate with PyTorch's own averages, count."""
    small = convslim.remove(model, plan, example).eval()
    for norm in (module for module in small.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True
    with torch.no_grad():
        for batch in images.calibration:
            small(batch)
        scores: Tensor = small.eval()(images.images)
    return int((scores.argmax(1) == labels(images)).sum()), scores


@pytest.mark.parametrize("name", ["digits_cnn", "resnet20", "mixed", "parameter in a list"])
def test_slices_give_what_removal_gives(name: str, digits: DataSource):
    model = built(name)
    images = judged(digits, model)
    example = images.images[:2]
    graph = convslim.trace(model, example)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    judge = build_evaluator(model, graph, example, images, precision="32")
    for seed in (1, 2):
        plan = some_plan(graph, seed)
        found = judge(plan)
        correct, _ = by_hand(model, plan, example, images)
        assert (found.correct, found.total, found.complete) == (correct, 144, True)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["digits_cnn", "resnet20", "mixed"])
@pytest.mark.parametrize(("precision", "tolerance"), [("32", 1e-5), ("bf16", 0.06)])
def test_scores_are_those_of_the_removed_network(name: str, precision: Any, tolerance: float, digits: DataSource):
    model = built(name)
    images = judged(digits, model)
    images = JudgingImages(images.calibration, images.images[:48], images.targets[:48], 48)
    example = images.images[:2]
    graph = convslim.trace(model, example)
    judge = build_evaluator(model, graph, example, images, precision=precision)
    assert isinstance(judge, ViewEvaluator)
    assert judge.precision == precision
    plan = some_plan(graph, 3)
    _, expected = by_hand(model, plan, example, images.shuffled(0))
    error = (judge.outputs(plan)[0] - expected).norm() / expected.norm()
    assert float(error) < tolerance


def test_what_cannot_be_exchanged_is_removed_and_said(digits: DataSource, monkeypatch: pytest.MonkeyPatch):
    """Written as a graph it could be; not every network can."""
    monkeypatch.setattr(evaluation_choice, "_written", lambda *_: None)
    model = built("parameter in a list")
    images = judged(digits, model)
    judge = build_evaluator(model, convslim.trace(model, images.images[:1]), images.images[:1], images)
    assert isinstance(judge, RemovalEvaluator)
    assert "On slices of the weights" in judge.reason
    assert judge.precision == "32"


def test_a_trained_network_is_judged_as_training_would_judge_it(digits: DataSource):
    """Beside `recalibrate`, with batches of the same split and the same order."""
    model = built("digits_cnn")
    example = digits.example_input()
    graph = convslim.trace(model, example)
    assert digits.holdout is not None
    calibration = [batch for batch, _ in digits.train.batches(64, seed=0, limit=192)]
    images, labels = next(iter(digits.holdout.batches(144)))
    judge = build_evaluator(model, graph, example, JudgingImages(calibration, images, labels), precision="32")
    plan = some_plan(graph, 4)
    small = recalibrate(convslim.remove(model, plan, example), digits.train, num_batches=3, batch_size=64).eval()
    with torch.no_grad():
        expected = int((small(images).argmax(1) == labels).sum())
    assert judge(plan).correct == expected


def test_later_changes_of_the_network_are_not_seen(digits: DataSource):
    model = built("digits_cnn")
    images = judged(digits, model)
    graph = convslim.trace(model, images.images[:1])
    judge = build_evaluator(model, graph, images.images[:1], images, precision="32")
    plan = some_plan(graph, 5)
    before = judge(plan).correct, judge.outputs(plan)[0]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert judge(plan).correct == before[0]
    assert torch.equal(judge.outputs(plan)[0], before[1])


def test_a_hopeless_candidate_is_given_up(digits: DataSource):
    model = built("digits_cnn")
    images = judged(digits, model)
    graph = convslim.trace(model, images.images[:1])
    judge = build_evaluator(model, graph, images.images[:1], images, precision="32")
    plan = some_plan(graph, 6)
    full = judge(plan)
    early = judge(plan, hopeless_below=0.99)
    assert full.complete
    assert not early.complete
    assert early.total < full.total
    assert judge(plan, hopeless_below=0.0).complete


def test_what_does_not_fit_is_refused(digits: DataSource):
    model = built("digits_cnn")
    images = judged(digits, model)
    example = images.images[:1]
    graph = convslim.trace(model, example)
    judge = build_evaluator(model, graph, example, images)
    other = built("mixed")
    foreign = some_plan(convslim.trace(other, example), 0)
    with pytest.raises(PlanError, match="another network"):
        judge(foreign)
    strange = JudgingImages(images.calibration, images.images, labels(images) + 5, 48)
    with pytest.raises(DataError, match="scores 10 classes"):
        build_evaluator(model, graph, example, strange)(some_plan(graph, 0))
    wrong = JudgingImages([torch.zeros(2, 3, 8, 8)], torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ModelError, match="batch of shape"):
        build_evaluator(model, graph, example, wrong)
    pinned = nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten())
    with pytest.raises(ModelError, match="no candidates"):
        build_evaluator(pinned, convslim.trace(pinned, example), example, images)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["digits_cnn", "resnet20", "resnet20, projections", "mixed"])
def test_both_ways_to_run_slices_agree_with_removal(name: str, fused: bool, digits: DataSource):
    """`build_evaluator` takes the first way that is right; each has to be right by itself."""
    model = built(name)
    images = judged(digits, model)
    example = images.images[:2]
    graph = convslim.trace(model, example, ways=("graph",))
    assert graph.program is not None
    form = assemble(graph.program, named_tensors(model))
    plan = some_plan(graph, 7)
    one = JudgingImages(images.calibration, images.images, images.targets, 144)
    views = ViewEvaluator(form, graph, one, fused=fused)
    _, expected = by_hand(model, plan, example, images)
    torch.testing.assert_close(views.outputs(plan)[0], expected, rtol=1e-3, atol=1e-4)
    views(some_plan(graph, 8))
    torch.testing.assert_close(views.outputs(plan)[0], expected, rtol=1e-3, atol=1e-4)


def test_chains_become_one_operation(digits: DataSource):
    """All 19 convolutions of a ResNet-20, with the 9 sums and the 19 activations behind them."""
    model = built("resnet20").eval()
    images = judged(digits, model)
    graph = convslim.trace(model, images.images[:1], ways=("graph",))
    assert graph.program is not None
    views = ViewEvaluator(assemble(graph.program, named_tensors(model)), graph, images, fused=True)
    network = views._shell.network
    assert isinstance(network, torch.fx.GraphModule)
    called = [str(node.target) for node in network.graph.nodes]
    assert sum(name.startswith("_blocks.") for name in called) == 19
    assert not any("relu" in name or "add" in name or "bn" in name for name in called)


def test_a_sum_in_place_is_not_taken_where_others_read_it():
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.conv, self.norm = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.last = nn.Conv2d(8, 10, 6)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            y = x * 1.0
            y += self.norm(self.conv(x))
            return self.last(torch.relu(y) + y).flatten(1)

    model, x = Writes().eval(), torch.randn(8, 1, 8, 8)
    graph = convslim.trace(model, x, ways=("graph",))
    assert graph.program is not None
    images = JudgingImages([x], x, torch.zeros(8, dtype=torch.long))
    views = ViewEvaluator(assemble(graph.program, named_tensors(model)), graph, images, fused=True)
    plan = some_plan(graph, 9)
    _, expected = by_hand(model, plan, x, images)
    torch.testing.assert_close(views.outputs(plan)[0], expected, rtol=1e-4, atol=1e-5)
