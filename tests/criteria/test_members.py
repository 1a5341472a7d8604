"""Every criterion against its formula, computed the slow way."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convslim import score, trace
from convslim.criteria import Criterion, normalized
from convslim.criteria.bn_scale import bn_scale
from convslim.criteria.fpgm import fpgm
from convslim.criteria.l1 import l1
from convslim.criteria.l2 import l2
from convslim.criteria.lamp import lamp
from convslim.criteria.obd import obd
from convslim.criteria.random import random
from convslim.criteria.taylor import taylor


class Block(nn.Module):
    """A trunk of 6 channels made by `stem` and `conv2`, and a hidden layer of 5 without normalization."""

    def __init__(self, normed: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.norm1: nn.Module = nn.BatchNorm2d(6) if normed else nn.Identity()
        self.conv1 = nn.Conv2d(6, 5, 1)
        self.conv2 = nn.Conv2d(5, 6, 1)
        self.norm2: nn.Module = nn.BatchNorm2d(6) if normed else nn.Identity()
        self.head = nn.Linear(6 * 4, 3)
        self.gates = dict.fromkeys(("stem", "conv1", "conv2"), torch.ones(()))
        for tensor in self.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if tensor.ndim == 1 else torch.randn_like(tensor))

    def forward(self, x: Tensor) -> Tensor:
        trunk = (self.norm1(self.stem(x)) * self.gates["stem"]).relu()
        hidden = (self.conv1(trunk) * self.gates["conv1"]).relu()
        trunk = trunk + self.norm2(self.conv2(hidden)) * self.gates["conv2"]
        features: Tensor = self.head(trunk.flatten(1))
        return features


EXAMPLE = torch.zeros(1, 3, 4, 4)


def scores_of(model: nn.Module, criterion: Criterion, group: str) -> Tensor:
    batches = [(torch.ones(2, 3, 4, 4), torch.tensor([0, 2]))]
    return torch.from_numpy(score(trace(model, EXAMPLE), model, criterion, batches=batches).values[group])


def filters(model: Block) -> Tensor:
    """Everything that makes the six trunk channels, one row per channel."""
    parts = [model.stem.weight.detach().flatten(1), model.conv2.weight.detach().flatten(1)]
    return torch.cat(parts, 1).double()


def test_bn_scale_is_the_mean_over_coupled_normalizations() -> None:
    model = Block()
    gammas = [norm.get_parameter("weight").detach() for norm in (model.norm1, model.norm2)]
    gammas[0][0] = -4.0
    expected = (gammas[0].abs() + gammas[1].abs()).double() / 2
    torch.testing.assert_close(scores_of(model, bn_scale(), "stem"), expected)


def test_groups_without_batch_norm_are_not_scored_by_its_scale() -> None:
    model = Block()
    found = score(trace(model, EXAMPLE), model, "bn_scale")
    assert found.unscored == ("conv1",)
    assert set(found.values) == {"stem"}


def test_batch_norm_of_a_concatenation_belongs_to_both_groups() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 4, 1)
            self.norm, self.head = nn.BatchNorm2d(6), nn.Conv2d(6, 1, 1)
            self.norm.weight.data = torch.arange(6.0)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.norm(torch.cat([self.a(x), self.b(x)], 1)))
            return out

    net = Net()
    found = score(trace(net, EXAMPLE), net, "bn_scale").values
    assert found["a"].tolist() == [0, 1]
    assert found["b"].tolist() == [2, 3, 4, 5]


def test_l1_is_the_norm_of_all_that_makes_the_channel() -> None:
    model = Block()
    torch.testing.assert_close(scores_of(model, l1(), "stem"), filters(model).abs().sum(1))


def test_l2_is_the_norm_of_all_that_makes_the_channel() -> None:
    model = Block()
    torch.testing.assert_close(scores_of(model, l2(), "stem"), filters(model).square().sum(1).sqrt())


def test_fpgm_is_the_sum_of_distances() -> None:
    model = Block()
    rows = filters(model)
    expected = torch.stack([sum(((row - other).norm() for other in rows), torch.zeros(())) for row in rows])
    torch.testing.assert_close(scores_of(model, fpgm(), "stem"), expected)


def test_fpgm_finds_the_filter_in_the_middle() -> None:
    model = Block()
    for conv in (model.stem, model.conv2):
        conv.weight.data[3] = conv.weight.data[[0, 1, 2, 4, 5]].mean(0)
    assert int(scores_of(model, fpgm(), "stem").argmin()) == 3


def test_a_transposed_convolution_makes_channels_along_its_second_axis() -> None:
    net = nn.Sequential(nn.ConvTranspose2d(3, 4, 2), nn.ReLU(), nn.Conv2d(4, 2, 1))
    weight = net[0].get_parameter("weight").detach().double()
    torch.testing.assert_close(scores_of(net, l1(), "0"), weight.abs().sum((0, 2, 3)))


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize(("group", "gates"), [("stem", ("stem", "conv2")), ("conv1", ("conv1",))])
def test_taylor_is_the_squared_gradient_of_a_gate(normed: bool, group: str, gates: tuple[str, ...]) -> None:
    """One gate per channel behind everything that makes it, and the derivative of the loss there."""
    model = Block(normed)
    gate = torch.ones(5 if group == "conv1" else 6, requires_grad=True)
    model.eval()
    for name in gates:
        model.gates[name] = gate[:, None, None]
    loss = nn.functional.cross_entropy(model(torch.ones(2, 3, 4, 4)), torch.tensor([0, 2]))
    (expected,) = torch.autograd.grad(loss, gate)
    model.gates = dict.fromkeys(model.gates, torch.ones(()))
    found = scores_of(model, taylor(), group)
    torch.testing.assert_close(found, expected.double().square(), rtol=1e-3, atol=1e-8)


def test_lamp_is_the_share_in_all_that_is_at_least_as_large() -> None:
    model = Block()
    squares = filters(model).square().sum(1)
    expected = torch.stack([square / squares[squares >= square].sum() for square in squares])
    found = scores_of(model, lamp(), "stem")
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert found.max() == 1


def test_lamp_of_equal_and_of_empty_filters() -> None:
    model = Block()
    nn.init.ones_(model.conv1.weight)
    assert scores_of(model, lamp(), "conv1").tolist() == [0.2] * 5
    nn.init.zeros_(model.conv1.weight)
    assert scores_of(model, lamp(), "conv1").tolist() == [0] * 5


def test_obd_is_half_the_squared_change_of_every_parameter() -> None:
    model = Block().eval()
    loss = nn.functional.cross_entropy(model(torch.ones(2, 3, 4, 4)), torch.tensor([0, 2]))
    loss.backward()
    parts = [
        (parameter.detach() * parameter.grad).double().square().reshape(6, -1).sum(1)
        for layer in (model.stem, model.norm1, model.conv2, model.norm2)
        for parameter in layer.parameters()
        if parameter.grad is not None
    ]
    model.zero_grad()
    torch.testing.assert_close(scores_of(model, obd(), "stem"), torch.stack(parts).sum(0) / 2, rtol=1e-5, atol=0)


def test_taylor_is_the_mean_over_batches_and_reaches_frozen_weights() -> None:
    model = Block()
    graph = trace(model, EXAMPLE)
    batches = [(torch.randn(2, 3, 4, 4), torch.tensor([0, 2])) for _ in range(3)]
    model.requires_grad_(False)
    parts = [score(graph, model, "taylor", batches=[batch]).values["stem"] for batch in batches]
    found = score(graph, model, "taylor", batches=iter(batches)).values["stem"]
    assert np.allclose(found, np.mean(parts, 0), rtol=1e-12)
    assert found.min() > 0
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_random_depends_on_seed_and_group_only() -> None:
    model = Block()
    graph = trace(model, EXAMPLE)
    first, second = score(graph, model, "random"), score(graph, model, "random", seed=1)
    assert not np.array_equal(first.values["stem"], second.values["stem"])
    assert not np.array_equal(first.values["stem"][:5], first.values["conv1"])
    torch.manual_seed(99)
    assert np.array_equal(score(graph, model, random()).values["stem"], first.values["stem"])


def test_normalized_scores_have_mean_one_and_the_same_order() -> None:
    model = Block()
    raw, found = scores_of(model, l1(), "stem"), scores_of(model, normalized(l1()), "stem")
    torch.testing.assert_close(found, raw / raw.mean())


def test_normalized_leaves_zeros_and_silence() -> None:
    model = Block()
    nn.init.zeros_(model.conv1.weight)
    assert scores_of(model, normalized(l1()), "conv1").tolist() == [0] * 5
    assert score(trace(model, EXAMPLE), model, normalized(bn_scale())).unscored == ("conv1",)
