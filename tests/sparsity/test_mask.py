"""Coefficients per channel: where they take hold, and that folding and removing change nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import convslim
from convslim.errors import ModelError
from convslim.measure.parity import parity
from convslim.sparsity.mask import MaskedNetwork, folded, scaled
from convslim.sparsity.mask_places import mask_places

X = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Residual(nn.Module):
    """A trunk of two producers, one with and one without BatchNorm, and a gate on it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.squeeze = nn.Linear(6, 4)
        self.excite = nn.Linear(4, 6)
        self.head = nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = x + self.bn(self.conv(x))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return self.head(x * gate[:, :, None, None]).mean((2, 3))


class PreActivation(nn.Module):
    """Every reader of the trunk has a BatchNorm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.conv(F.relu(self.bn1(x)))
        return self.head(F.relu(self.bn2(x)).mean((2, 3)))


class Concat(nn.Module):
    """One BatchNorm over the channels of two groups."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1)
        self.right = nn.Conv2d(3, 3, 1)
        self.bn = nn.BatchNorm2d(7)
        self.depthwise = nn.Conv2d(7, 7, 3, groups=7)
        self.head = nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(torch.cat([self.left(x), self.right(x)], 1))
        return self.head(F.relu(self.depthwise(x))).mean((2, 3))


def randomized(model: nn.Module) -> nn.Module:
    """BatchNorms with statistics and parameters that matter."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


NETWORKS = {
    "residual": Residual,
    "pre-activation": PreActivation,
    "concat": Concat,
    "resnet": lambda: convslim.models.create("resnet20_cifar_b"),
    "digits": lambda: convslim.models.create("digits_cnn", in_channels=3),
    "plain": lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 7), nn.Linear(7, 2)),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return randomized(NETWORKS[request.param]())


def test_folded_is_masked(network: nn.Module):
    places = mask_places(convslim.trace(network, X[:1]))
    masked = MaskedNetwork(network, places, torch.randn(places.total)).eval()
    with torch.no_grad():
        torch.testing.assert_close(folded(network, places, masked.settled)(X), masked(X), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(network(X), masked(X), rtol=1e-2)


def test_zero_is_removed(network: nn.Module):
    """Coefficients of zero do what removing the channels does."""
    graph = convslim.trace(network, X[:1])
    places = mask_places(graph)
    start = torch.rand(places.total) + 0.5
    kept = {}
    for number, (name, part) in enumerate(places.slices().items()):
        gone = torch.arange(part.stop - part.start) % 3 == number % 3
        start[part][gone] = 0
        kept[name] = torch.nonzero(~gone).flatten().tolist()
    plain = folded(network, places, start)
    plan = convslim.make_plan(graph, kept)
    small = convslim.remove(plain, plan, X[:1], graph=graph)
    convslim.surgery.fold_(small, plain, plan, X[:1], graph=graph)
    found = parity(plain, small, [X])
    assert found.error < 1e-8


def test_coefficients_stand_behind_the_last_normalization():
    model = convslim.models.create("digits_cnn", in_channels=3)
    places = mask_places(convslim.trace(model, X[:1]))
    names = {place.name for place in places.tensors}
    assert {"block3.bn2.weight", "block3.bn2.bias"} <= names  # behind the depthwise convolution
    assert not {"block3.bn1.weight", "block3.expand.weight"} & names
    assert {name for name in names if "bn3" in name or "stem" in name} == {
        "stem_bn.weight",
        "stem_bn.bias",
        "block3.bn3.weight",
        "block3.bn3.bias",
    }
    assert all(name.rpartition(".")[2] in ("weight", "bias") for name in names)


def test_producers_without_normalization_are_scaled_themselves():
    places = mask_places(convslim.trace(Residual().eval(), X[:1]))
    trunk = {place.name for place in places.tensors if place.number.min() >= 0 and place.number.max() < 6}
    assert trunk == {"stem.weight", "stem.bias", "bn.weight", "bn.bias"}


def test_groups_that_are_left_out_have_no_coefficients():
    graph = convslim.trace(convslim.models.create("digits_cnn", in_channels=3), X[:1])
    assert "head" not in mask_places(graph, without=["head"]).groups
    with pytest.raises(ModelError, match="No group of channels can have coefficients"):
        mask_places(graph, without=[group.name for group in graph.groups])


def test_computed_weights_are_left_with_a_reason():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), nn.ReLU(), nn.Conv2d(4, 6, 1))
    model.append(nn.Conv2d(6, 2, 1))
    places = mask_places(convslim.trace(model, X[:1]))
    assert places.groups == ("2",)
    assert [name for name, _ in places.left] == ["0"]


def test_the_network_inside_is_untouched(network: nn.Module):
    places = mask_places(convslim.trace(network, X[:1]))
    twin = copy.deepcopy(network)
    before = dict(network.named_parameters())
    with scaled(network, places, torch.rand(places.total)):
        network(X)
    after = dict(network.named_parameters())
    assert list(before) == list(after)
    assert all(before[name] is after[name] for name in before)
    assert all(torch.equal(before[name], parameter) for name, parameter in twin.named_parameters())
    with pytest.raises(RuntimeError), scaled(network, places, torch.rand(places.total)):
        raise RuntimeError
    assert all(before[name] is parameter for name, parameter in network.named_parameters())


def test_gradients_reach_coefficients_and_parameters():
    model = randomized(convslim.models.create("digits_cnn", in_channels=3))
    places = mask_places(convslim.trace(model, X[:1]))
    start = torch.ones(places.total)
    start[0] = 0
    masked = MaskedNetwork(model, places, start).train()
    masked(X).square().sum().backward()
    assert masked.point.grad is not None
    assert masked.point.grad[0] != 0  # a channel that is cut can come back
    assert model.get_parameter("stem_bn.weight").grad is not None
    gamma, beta = model.get_parameter("head_bn.weight"), model.get_parameter("head_bn.bias")
    assert gamma.grad is not None
    assert beta.grad is not None
    expected = gamma.grad * gamma.detach() + beta.grad * beta.detach()  # at m = 1, ∂L/∂m = γ·∂L/∂γ + β·∂L/∂β
    torch.testing.assert_close(masked.point.grad[places.slices()["head"]], expected, rtol=1e-3, atol=1e-4)
