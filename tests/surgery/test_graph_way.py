"""Plans that are carried out on a graph: everything that a model of a class can do."""

import copy
import json
import warnings

import numpy as np
import pytest
import torch
from tests.channels.numbers_in_code import split, training
from tests.channels.sketch import X, conv
from torch import nn

import convslim
from convslim.conformance.case import Micro
from convslim.errors import ArtifactError, PlanError
from convslim.export.onnx import export_onnx


def half(graph: convslim.ChannelGraph) -> convslim.PruningPlan:
    return convslim.make_plan(
        graph, {group.name: np.arange(max(group.num_channels // 2, 1)) for group in graph.prunable}
    )


@pytest.fixture(scope="module")
def original() -> nn.Module:
    torch.manual_seed(0)
    return training().eval()


@pytest.fixture(scope="module")
def plan(original) -> convslim.PruningPlan:
    return convslim.make_plan(convslim.trace(original, X), {"a": range(4), "b": [0, 1, 4, 6]})


@pytest.fixture
def small(original, plan) -> nn.Module:
    return convslim.remove(original, plan, X)


def test_a_plan_is_data(plan):
    again = convslim.PruningPlan.from_json(plan.to_json())
    assert again == plan
    assert (again.way, again.removed) == ("graph", {"a": 4, "b": 4})


def test_replay_needs_no_trace(original, plan, small):
    again = convslim.rebuild(original, convslim.PruningPlan.from_json(plan.to_json()))
    assert torch.equal(again(X), small(X))
    fresh = convslim.rebuild(training(), plan)
    fresh.load_state_dict(small.state_dict())
    assert fresh.training
    assert torch.equal(fresh.eval()(X), small(X))


def test_the_original_is_untouched_and_shares_nothing(original, small):
    assert {t.data_ptr() for t in original.state_dict().values()}.isdisjoint(
        t.data_ptr() for t in small.state_dict().values() if t.numel()
    )
    assert original.a.weight.shape == (8, 3, 1, 1)


def test_verify_takes_the_class(original, plan, small):
    assert convslim.verify(original, small, plan, X).relative_error < 1e-6
    with torch.no_grad():
        small.b.weight += 0.1
    with pytest.raises(convslim.errors.VerificationError, match="differs"):
        convslim.verify(original, small, plan, X)


def test_training_lowers_the_loss(small):
    torch.manual_seed(0)
    x, y = torch.randn(16, 3, 8, 8), torch.randint(0, 4, (16,))
    before = nn.functional.cross_entropy(small(x), y)
    optimizer = torch.optim.AdamW(small.train().parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(small(x), y).backward()
        optimizer.step()
    assert nn.functional.cross_entropy(small.eval()(x), y) < 0.9 * before
    assert small.norm.num_batches_tracked == 60


def test_copies_run_alike(small):
    again = copy.deepcopy(small)
    assert torch.equal(again(X), small(X))
    assert list(again.state_dict()) == list(small.state_dict())
    assert [m.training for m in again.modules()] == [m.training for m in small.modules()]


def test_artifacts_need_no_factory(tmp_path, plan, small):
    convslim.save(small, tmp_path / "small", plan=plan)
    assert "graph.json" in {file.name for file in (tmp_path / "small").iterdir()}
    again = convslim.load(tmp_path / "small")
    assert torch.equal(again(X), small(X))
    assert {n: t.dtype for n, t in again.state_dict().items()} == {n: t.dtype for n, t in small.state_dict().items()}
    assert all(p.requires_grad for p in again.parameters())
    again.train()
    again(torch.cat([X, X])).sum().backward()
    assert again.a.weight.grad is not None
    twice = convslim.load(convslim.save(again.eval(), tmp_path / "twice"))
    assert twice(X).shape == (1, 4)


def test_a_damaged_graph_is_named(tmp_path, small):
    folder = convslim.save(small, tmp_path / "small")
    text = (folder / "graph.json").read_text()
    (folder / "graph.json").write_text(text.replace("aten.cat.default", "os.system"))
    with pytest.raises(ArtifactError, match=r"graph\.json is not what was saved"):
        convslim.load(folder)
    with pytest.raises(ArtifactError, match="give load a factory"):
        convslim.load(convslim.save(training(), tmp_path / "class"))


def test_a_second_cut_composes(original, plan, small):
    graph = convslim.trace(small, X)
    assert (graph.way, graph.way_reason) == ("graph", "the model is a graph already")
    second = convslim.make_plan(graph, {"a": [1, 3], "b": [0, 2, 3]})
    smaller = convslim.remove(small, second, X)
    both = plan.then(second)
    assert both.kept["a"] == (1, 3)
    assert torch.equal(convslim.rebuild(original, both)(X), smaller(X))
    assert convslim.verify(original, smaller, both, X).relative_error < 1e-6


def test_a_graph_of_a_cut_class_does_not_compose(original):
    first = half(convslim.trace(split().eval(), X, ways=("class",)))
    second = half(convslim.trace(split().eval(), X, ways=("graph",)))
    with pytest.raises(PlanError, match="the second on a graph of the result"):
        first.then(second)


def test_plans_of_another_model_are_refused(plan):
    with pytest.raises(PlanError, match="graph does not fit this Micro"):
        convslim.rebuild(split(), plan)
    data = json.loads(plan.to_json())
    data["attributes"]["nothing:sizes.0"] = 3
    with pytest.raises(PlanError, match=r"sets a number of 'nothing:sizes\.0'"):
        convslim.rebuild(training(), convslim.PruningPlan.from_json(json.dumps(data)))


def test_scores_of_the_class_fit_the_graph(original):
    graph = convslim.trace(original, X)
    for criterion in ("l1", "bn_scale"):
        scores = convslim.score(graph, original, criterion)
        assert scores.values["a"].shape == (8,)
    plan = convslim.allocate(graph, convslim.score(graph, original, "l1"), {"macs": 0.5}, round_to=1)
    small = convslim.remove(original, plan, X, graph=graph)
    assert convslim.cost(small, X).macs <= 0.5 * convslim.cost(original, X).macs


def test_constants_fold_into_layers():
    def run(n, x):
        left, right = torch.split(n.norm(n.a(x)).relu(), [3, 5], 1)
        return n.out(torch.cat([right, left], 1))

    torch.manual_seed(0)
    net = Micro(run, a=conv(3, 8), norm=nn.BatchNorm2d(8), out=nn.Conv2d(8, 4, 1)).eval()
    with torch.no_grad():
        net.norm.weight[:2] = 0
        net.norm.bias[:2] = 0.5
    graph = convslim.trace(net, X)
    plan = convslim.make_plan(graph, {"a": range(2, 8)})
    small = convslim.remove(net, plan, X)
    folding = convslim.fold_(small, net, plan, X)
    assert [(layer.module, layer.num_constant, layer.exact) for layer in folding.layers] == [("out", 2, True)]
    assert torch.allclose(small(X), net(X), atol=1e-6)


def test_onnx_agrees(tmp_path, small):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = export_onnx(small, X, tmp_path / "small.onnx")
    assert report.max_error < 1e-5
    assert report.batch_sizes == (1, 3)
