"""Oracles of the reconstruction: what must be lossless is, what cannot get worse does not."""

import copy

import pytest
import torch
from torch import nn

import convslim
from convslim.errors import DataError, PlanError
from convslim.surgery.reconstruction import reconstruct_
from convslim.surgery.reconstruction.replay import replays


class Block(nn.Module):
    """A residual block whose inner channels can be cut."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (x + y).relu()


class Net(nn.Module):
    """Residual adds, concatenation, a gate, depthwise, grouped and transposed convolutions, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(Block(8, 12), Block(8, 12))
        self.left = nn.Conv2d(8, 6, 1)
        self.right = nn.Conv2d(8, 6, 3, padding=2, dilation=2)
        self.gate = nn.Linear(12, 12)
        self.depthwise = nn.Conv2d(12, 12, 3, stride=2, padding=1, groups=12)
        self.up = nn.ConvTranspose2d(12, 8, 2, stride=2)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.fc1 = nn.Linear(8 * 36, 10)
        self.fc2 = nn.Linear(10, 4)

    def forward(self, x):
        x = self.blocks(self.stem(x))
        x = torch.cat([self.left(x), self.right(x)], 1).relu()
        x = x * self.gate(x.mean((2, 3))).sigmoid()[..., None, None]
        x = self.grouped(self.up(self.depthwise(x).relu()).relu()).relu()
        return self.fc2(self.fc1(x.flatten(1)).relu())


@pytest.fixture
def net():
    torch.manual_seed(0)
    model = Net().eval()
    for norm in [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return model


@pytest.fixture
def images():
    torch.manual_seed(1)
    coarse = torch.randn(120, 3, 4, 4)
    return nn.functional.interpolate(coarse, size=8, mode="bilinear") + 0.1 * torch.randn(120, 3, 8, 8)


def cut(model, images, share):
    graph = convslim.trace(model, images[:1], ways=("class",))
    kept = {g.name: range(max(1, round(g.num_channels * share))) for g in graph.prunable}
    plan = convslim.make_plan(graph, kept)
    return graph, plan, convslim.remove(model, plan, images[:1], graph=graph)


def distance(model, other, images):
    with torch.no_grad():
        return float((model(images) - other(images)).square().mean())


def test_reconstruction_brings_the_outputs_closer_on_new_images(net, images):
    graph, plan, small = cut(net, images, 0.6)
    before = distance(net, small, images[100:])
    done = reconstruct_(small, net, plan, images[:100].split(25), graph=graph)
    assert distance(net, small, images[100:]) < 0.25 * before
    assert {layer.module for layer in done.layers} >= {"blocks.0.conv2", "left", "right", "gate", "up", "fc1", "fc2"}
    assert done.num_images == 100
    assert all(layer.error_after <= layer.error_before for layer in done.layers)
    assert not done.left


@pytest.mark.parametrize("which", ["readers", "all"])
def test_kept_whole_nothing_changes(net, images, which):
    graph, plan, small = cut(net, images, 1.0)
    before = copy.deepcopy(small.state_dict())
    assert not reconstruct_(small, net, plan, [images], graph=graph, which=which).layers
    assert all(torch.equal(before[name], tensor) for name, tensor in small.state_dict().items())


def test_the_original_is_left_as_found(net, images):
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    given = images.clone()
    graph, plan, small = cut(net, images, 0.5)
    reconstruct_(small, net, plan, [images], graph=graph)
    assert net.training
    assert torch.equal(given, images)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def twins(padding):
    """Channels 4..7 of the first layer are copies of channels 0..3, channel 8 is the sum of 0 and 1."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 9, 3), nn.Identity(), nn.Conv2d(9, 5, 3, padding=padding, bias=False))
    with torch.no_grad():
        model[0].weight[4:8], model[0].bias[4:8] = model[0].weight[:4], model[0].bias[:4]
        model[0].weight[8], model[0].bias[8] = model[0].weight[:2].sum(0), model[0].bias[:2].sum(0)
    return model.double()


@pytest.mark.parametrize("padding", [0, 1])
def test_doubled_and_dependent_channels_go_without_loss(padding):
    model, images = twins(padding), torch.randn(64, 3, 8, 8, dtype=torch.float64)
    graph = convslim.trace(model, images[:1])
    plan = convslim.make_plan(graph, {"0": range(4)})
    small = convslim.remove(model, plan, images[:1], graph=graph)
    assert distance(model, small, images) > 1e-2
    reconstruct_(small, model, plan, images.split(16), graph=graph)
    with torch.no_grad():
        assert (model(images) - small(images)).abs().max() < 1e-4


def test_the_batch_size_does_not_matter(net, images):
    results = []
    for size in (7, 40, 120):
        graph, plan, small = cut(net.double(), images.double(), 0.6)
        reconstruct_(small, net, plan, images.double().split(size), graph=graph, per_image=9)
        results.append(small.state_dict())
    for other in results[1:]:
        assert all(torch.allclose(results[0][name], other[name], atol=1e-8) for name in other)


def test_where_memory_is_short_layers_with_large_maps_see_fewer_images_and_more_of_each(net, images):
    graph, plan, small = cut(net, images, 0.6)
    before = distance(net, small, images[100:])
    done = reconstruct_(small, net, plan, images[:100].split(10), graph=graph, memory=700_000)
    seen = [layer.num_images for layer in done.layers]
    assert seen == sorted(seen)
    assert seen[0] < 100 == seen[-1]
    assert all(layer.num_rows >= 1600 for layer in done.layers if layer.module.startswith("blocks"))
    assert distance(net, small, images[100:]) < 0.35 * before
    assert done.num_images == 100


def test_batches_that_come_later_run_through_the_same_layers(net, images):
    """With all images of a layer equal, later ones change nothing but the number of rows."""
    results = []
    for memory in (1, 2**40):
        graph, plan, small = cut(net.double(), images.double(), 0.6)
        same = [images.double()[:20]] * 3
        done = reconstruct_(small, net, plan, same, graph=graph, memory=memory)
        assert {layer.num_images for layer in done.layers} == {20 if memory == 1 else 60}
        results.append(small(images.double()[:20]).detach())
    torch.testing.assert_close(*results, rtol=0.05, atol=0.05 * float(results[0].std()))


def test_the_error_on_the_calibration_images_does_not_grow():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).double()
    images = torch.randn(10, 3, 7, 7, dtype=torch.float64)
    for seed in range(5):
        graph = convslim.trace(model, images[:1])
        plan = convslim.make_plan(graph, {"0": sorted(torch.randperm(8)[: 2 + seed].tolist())})
        small = convslim.remove(model, plan, images[:1], graph=graph)
        before = distance(model, small, images)
        reconstruct_(small, model, plan, [images], graph=graph)
        assert distance(model, small, images) <= before


def test_a_replay_gives_what_the_network_gives(net, images):
    for running, batch in zip(replays(net, images.split(50)), images.split(50), strict=True):
        with torch.no_grad():
            running.advance(len(running.calls))
            assert torch.allclose(running.outputs[0], net(batch), atol=1e-5)


class Layouts(nn.Module):
    """Operations for which it matters how a tensor lies in memory, and a layer whose output nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.unread = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), nn.Conv2d(6, 2, 1)
        self.head = nn.Linear(64, 5)

    def forward(self, x):
        x = self.a(x).relu()
        self.unread(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.head(self.b(x).view(n, -1))


def test_views_work_in_every_layout_and_unread_layers_are_passed_by(images):
    torch.manual_seed(0)
    model = Layouts().eval()
    graph = convslim.trace(model, images[:1])
    scores = convslim.score(graph, model, "reconstruction", batches=[(images, torch.zeros(len(images)))])
    assert set(scores.values) == {"a", "b"}
    (running,) = replays(model, [images])
    running.advance(len(running.calls))
    assert torch.allclose(running.outputs[0], model(images), atol=1e-5)
    plan = convslim.make_plan(graph, {"a": range(2), "b": range(2)})
    small = convslim.remove(model, plan, images[:1], graph=graph)
    before = distance(model, small, images)
    done = reconstruct_(small, model, plan, [images], graph=graph)
    assert distance(model, small, images) < before
    assert "unread" not in {layer.module for layer in done.layers}


def test_a_layer_used_twice_keeps_its_weights(images):
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 6, 1)
            self.b = nn.Conv2d(6, 6, 1)

        def forward(self, x):
            return self.b(self.b(self.a(x).relu()).relu()).mean((1, 2, 3))

    model = Twice()
    graph = convslim.trace(model, images[:1])
    group = graph.prunable[0].name
    plan = convslim.make_plan(graph, {group: range(4)})
    small = convslim.remove(model, plan, images[:1], graph=graph)
    done = reconstruct_(small, model, plan, [images], graph=graph)
    assert done.left == (("b", "the layer is used more than once"),)


@pytest.mark.parametrize("way", ["class", "graph"])
def test_the_plan_says_in_which_way_the_original_is_traced(way):
    torch.manual_seed(0)
    model, images = convslim.models.create("resnet20_cifar").eval(), torch.randn(40, 3, 16, 16)
    graph = convslim.trace(model, images[:1], ways=(way,))
    plan = convslim.make_plan(graph, {"layer2.1.conv1": range(8)})
    small = convslim.remove(model, plan, images[:1], graph=graph)
    done = reconstruct_(small, model, plan, [images], which="readers")
    assert {layer.module for layer in done.layers} == {"layer2.1.conv2"}


def test_bad_arguments_say_what_is_wrong(net, images):
    graph, plan, small = cut(net, images, 0.6)
    with pytest.raises(DataError, match="no calibration batch"):
        reconstruct_(small, net, plan, [], graph=graph)
    with pytest.raises(PlanError, match="no choice of layers 'some'"):
        reconstruct_(small, net, plan, [images], graph=graph, which="some")
    with pytest.raises(PlanError, match="made for another model"):
        reconstruct_(small, nn.Conv2d(3, 4, 1), plan, [images])
