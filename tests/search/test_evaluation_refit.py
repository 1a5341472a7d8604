"""New weights for readers of removed channels: ridge regression, and a fitness that foretells reconstruction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from tests.search.test_evaluation_choice import NETWORKS, built, judged, some_plan
from torch import Tensor, nn

import convslim
from convslim.channels.tape import named_tensors
from convslim.data import DataSource, open_data
from convslim.search.evaluation_choice import build_evaluator
from convslim.search.evaluation_images import JudgingImages
from convslim.search.evaluation_refit import MOST_INPUTS, STRENGTH, Readers
from convslim.search.evaluation_removal import RemovalEvaluator
from convslim.search.evaluation_views import ViewEvaluator
from convslim.train import Metrics, TrainConfig, evaluate, fit, recalibrate_


def right(measured: object) -> int:
    assert isinstance(measured, Metrics)
    return measured.correct


@pytest.fixture(scope="module")
def digits() -> DataSource:
    return open_data("digits", holdout=0.2)


@pytest.mark.parametrize("bias", [True, False])
def test_the_weights_are_those_of_ridge_regression(bias: bool):
    torch.manual_seed(0)
    first, last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 1, bias=bias)
    net = nn.Sequential(first, nn.ReLU(), last)
    images = torch.randn(40, 3, 6, 6)  # 16 output positions of an image: all are taken
    graph = convslim.trace(net, images[:1])
    plan = convslim.make_plan(graph, {"0": [0, 2, 3, 6]})
    found = Readers(net, images.split(30)).weights(plan)
    assert set(found) == ({"2.weight", "2.bias"} if bias else {"2.weight"})
    with torch.no_grad():
        x = first(images).relu().permute(0, 2, 3, 1).reshape(-1, 8).double()
        weight = last.weight[:, :, 0, 0].double().T
        y, start = x @ weight, weight[[0, 2, 3, 6]]
        read = x[:, [0, 2, 3, 6]]
        left, right = (read - read.mean(0), y - y.mean(0)) if bias else (read, y)
        gram = left.T @ left / len(x)
        ridge = STRENGTH * gram.diagonal().mean() * torch.eye(4)
        wanted = start + torch.linalg.solve(gram + ridge, left.T @ (right - left @ start) / len(x))
    assert torch.allclose(found["2.weight"][:, :, 0, 0].double().T, wanted, atol=1e-5)
    if last.bias is not None:
        shift = y.mean(0) - read.mean(0) @ wanted
        assert torch.allclose(found["2.bias"].double(), last.bias.detach().double() + shift, atol=1e-5)


def test_a_layer_with_many_inputs_keeps_its_weights():
    net = nn.Sequential(nn.Conv2d(3, MOST_INPUTS + 8, 1), nn.ReLU(), nn.Conv2d(MOST_INPUTS + 8, 4, 1))
    images = torch.randn(2, 3, 2, 2)
    plan = convslim.make_plan(convslim.trace(net, images), {"0": range(MOST_INPUTS)})
    assert Readers(net, [images]).weights(plan) == {}


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "parameter in a list"])
def test_slices_and_removal_agree_on_refitted_candidates(digits: DataSource, name: str):
    model = built(name).eval()
    before = {key: tensor.clone() for key, tensor in named_tensors(model).items()}
    images = judged(digits, model)
    example = images.images[:1]
    graph = convslim.trace(model, example)
    judge = build_evaluator(model, graph, example, images, precision="32", refit=True)
    assert isinstance(judge, ViewEvaluator), judge.reason
    readers = Readers(model, images.calibration)
    slow = RemovalEvaluator(model, graph, example, images.shuffled(0), readers=readers)
    plain = build_evaluator(model, graph, example, images, precision="32")
    plan = some_plan(graph, 1)
    assert torch.allclose(
        judge.outputs(plan)[0], slow.outputs(plan)[0], atol=2e-3 * float(slow.outputs(plan)[0].abs().max())
    )
    assert not torch.allclose(judge.outputs(plan)[0], plain.outputs(plan)[0], rtol=0.05)
    assert all(torch.equal(tensor, before[key]) for key, tensor in named_tensors(model).items())


def test_fitness_foretells_what_reconstruction_gives(digits: DataSource):
    torch.manual_seed(0)
    model = convslim.models.create("digits_cnn")
    config = TrainConfig(epochs=4, batch_size=64, lr=0.05, threads=1)
    model = fit(model, digits, config, quiet=True).model.eval()
    example = digits.example_input()
    graph = convslim.trace(model, example)
    rng, assessed = np.random.default_rng(0), digits.holdout
    assert assessed is not None
    calibration = [images for images, _ in digits.train.batches(128, seed=0, limit=512)]
    images, labels = next(iter(assessed.batches(999)))
    judging = JudgingImages(calibration, images, labels)
    judges = [build_evaluator(model, graph, example, judging, precision="32", refit=refit) for refit in (False, True)]
    rows = []
    for _ in range(14):
        counts = {g.name: max(2, round(g.num_channels * rng.uniform(0.1, 0.6))) for g in graph.prunable}
        plan = convslim.make_plan(graph, {name: range(count) for name, count in counts.items()})
        small = convslim.remove(model, plan, example, graph=graph)
        convslim.reconstruct_(small, model, plan, calibration, graph=graph)
        recalibrate_(small, digits.train, num_batches=4, batch_size=128, seed=0)
        rows.append((*(judge(plan).correct for judge in judges), right(evaluate(small, assessed))))
    plain, refitted, real = np.array(rows).T
    assert kendalltau(refitted, real).statistic >= 0.6
    assert np.abs(refitted - real).mean() < np.abs(plain - real).mean()


def test_scores_are_of_the_batch_size_that_comes(digits: DataSource):
    model = built("digits_cnn").eval()
    assert digits.holdout is not None
    batches = [images for images, _ in digits.holdout.batches(50)]
    assert len({len(batch) for batch in batches}) == 2
    plan = some_plan(convslim.trace(model, batches[0][:1]), 0)
    assert all(
        isinstance(tensor, Tensor) and tensor.isfinite().all()
        for tensor in Readers(model, batches).weights(plan).values()
    )
