"""Constants of removed channels: given back exactly where that is exact, and said where it is not."""

import pytest
import torch
from torch import Tensor, nn

import convslim
from convslim.surgery import fold_


def network(padding: int = 0, consumer_bias: bool = False, norm_behind: bool = False) -> nn.Sequential:
    layers = [
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        nn.Conv2d(8, 6, 3, padding=padding, bias=consumer_bias),
        *([nn.BatchNorm2d(6)] if norm_behind else []),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1),
    ]
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
            nn.init.normal_(layer.get_buffer("running_mean"))
    return nn.Sequential(*layers).eval()


def without(net: nn.Module, group: str, gone: set[int], x: Tensor) -> tuple[nn.Module, convslim.PruningPlan]:
    graph = convslim.trace(net, x)
    kept = [channel for channel in range(graph.group(group).num_channels) if channel not in gone]
    plan = convslim.make_plan(graph, {group: kept})
    return convslim.remove(net, plan, x, graph=graph), plan


@pytest.mark.parametrize(
    ("options", "where"),
    [({}, "new bias"), ({"consumer_bias": True}, "bias"), ({"norm_behind": True}, "running mean")],
)
def test_constant_channels_are_given_back_exactly(options: dict[str, bool], where: str) -> None:
    net, x = network(**options), torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        net.get_parameter("1.weight")[[1, 4]] = 0
    small, plan = without(net, "0", {1, 4}, x)
    assert (small(x) - net(x)).abs().max() > 1e-3
    folding = fold_(small, net, plan, x)
    assert [(layer.module, layer.num_constant, layer.where, layer.exact) for layer in folding.layers] == [
        ("3", 2, where, True)
    ]
    torch.testing.assert_close(small(x), net(x), atol=1e-5, rtol=1e-4)


def test_a_padded_convolution_is_exact_inside_and_said_not_to_be_at_the_border() -> None:
    net, x = network(padding=1), torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        net.get_parameter("1.weight")[2] = 0
    small, plan = without(net, "0", {2}, x)
    folding = fold_(small, net, plan, x)
    assert [layer.exact for layer in folding.layers] == [False]
    difference = (small(x) - net(x)).abs()
    assert difference[:, :, 1:-1, 1:-1].max() < 1e-5 < difference.max()


def test_channels_that_vary_are_not_folded() -> None:
    net, x = network(), torch.randn(2, 3, 12, 12)
    small, plan = without(net, "0", {1, 4}, x)
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    assert fold_(small, net, plan, x).layers == ()
    assert small.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())


def test_a_linear_layer_behind_a_flattened_map_takes_the_constant() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 5)).eval()
    nn.init.ones_(net.get_parameter("1.bias"))
    with torch.no_grad():
        net.get_parameter("1.weight")[3] = 0
    x = torch.randn(2, 1, 6, 6)
    small, plan = without(net, "0", {3}, x)
    folding = fold_(small, net, plan, x)
    assert [(layer.where, layer.num_constant) for layer in folding.layers] == [("bias", 16)]
    torch.testing.assert_close(small(x), net(x), atol=1e-5, rtol=1e-4)


def test_a_layer_used_twice_is_left_alone_with_the_reason() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
            self.b, self.c = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(self.a(x))
            out: Tensor = self.c(self.b(self.b(y)))
            return out

    net, x = Twice().eval(), torch.randn(1, 3, 6, 6)
    nn.init.ones_(net.norm.bias)
    with torch.no_grad():
        net.norm.weight[0] = 0
    small, plan = without(net, "a", {0}, x)
    folding = fold_(small, net, plan, x)
    assert ("b", "the layer is used more than once") in folding.left
