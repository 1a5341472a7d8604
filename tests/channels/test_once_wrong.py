"""Networks that the engine once got wrong; each stays as a test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import convslim
from convslim.conformance.case import Micro
from convslim.errors import ModelError


class Net(nn.Module):
    """Layers by name, and a function of them as the forward pass."""

    def __init__(self, run: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def halved(net: nn.Module, x: Tensor, **kept: list[int]) -> nn.Module:
    """The network with every second channel of each group, or the given ones."""
    graph = convslim.trace(net, x)
    chosen = kept or {g.name: list(range(0, g.num_channels, 2)) for g in graph.prunable}
    return convslim.remove(net, convslim.make_plan(graph, chosen), x, graph=graph)


X = torch.randn(1, 3, 8, 8)


def test_a_buffer_counted_in_forward_stays_as_it_was():
    net = Net(lambda n, x: n.head(n.a(x + 0 * n.seen.add_(1))), a=nn.Conv2d(3, 8, 1), head=nn.Conv2d(8, 2, 1))
    net.register_buffer("seen", torch.zeros(1))
    convslim.trace(net, X)
    assert net.get_buffer("seen").item() == 0


def test_copying_into_a_tensor_couples_both_widths():
    net = Net(
        lambda n, x: n.head(n.a(x).copy_(n.b(x))), a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(3, 8, 1), head=nn.Conv2d(8, 2, 1)
    )
    graph = convslim.trace(net, X)
    assert [(set(g.producers), g.num_channels) for g in graph.prunable] == [({"a", "b"}, 8)]
    halved(net, X)


def test_removal_under_autocast():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    with torch.autocast("cpu", torch.bfloat16):
        graph = convslim.trace(net, X)
        plan = convslim.make_plan(graph, {"0": range(4)})
        assert convslim.remove(net, plan, X, graph=graph, tolerance=0.05)[0].out_channels == 4


def test_trace_inside_inference_mode():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1))
    with torch.inference_mode():
        graph = convslim.trace(net, torch.zeros(1, 3, 8, 8))
    assert [g.name for g in graph.prunable] == ["0"]


@pytest.mark.parametrize("batch", [1, 2])
def test_instance_norm_over_the_same_channels_twice(batch: int):
    net = Net(
        lambda n, x: n.head(n.norm(torch.cat([n.a(x)] * 2, 1))),
        a=nn.Conv2d(3, 4, 1),
        norm=nn.InstanceNorm2d(8),
        head=nn.Conv2d(8, 2, 1),
    )
    assert halved(net, torch.randn(batch, 3, 8, 8), a=[0, 1, 3]).get_submodule("norm").num_features == 6


def test_one_channel_left_in_an_outer_product():
    def outer(n: nn.Module, x: Tensor) -> Tensor:
        return n.get_submodule("fc")(
            (n.get_submodule("a")(x).mean((2, 3))[:, :, None] * n.get_submodule("b")(x).mean((2, 3))[:, None]).flatten(
                1
            )
        )

    net = Net(outer, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 5, 1), fc=nn.Linear(20, 2))
    for group in convslim.trace(net, X).prunable:
        halved(net, X, **{group.name: [0]})


def test_many_blocks_with_fixed_numbers_of_their_own():
    def fixed(n: nn.Module, x: Tensor) -> Tensor:
        for width in widths:
            x = n.get_submodule(f"b{width}")(x).view(-1, width, 8, 8)
        return x

    widths = range(3, 73)
    blocks = {f"b{width}": nn.Conv2d(max(width - 1, 3), width, 1) for width in widths}
    graph = convslim.trace(Net(fixed, **blocks), X, ways=("class",))
    assert not graph.prunable


def test_an_empty_dict_with_a_default_keeps_it():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1))
    net.stats = defaultdict(list)
    assert halved(net, X).stats["new"] == []


def test_channels_last_weights_stay_channels_last():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)).to(memory_format=torch.channels_last)
    assert halved(net, X)[1].weight.is_contiguous(memory_format=torch.channels_last)


def test_no_module_and_no_shape_yet_are_told():
    with pytest.raises(ModelError, match=r"A function was given where a torch\.nn\.Module is expected"):
        convslim.trace(lambda x: x, X)
    with pytest.raises(ModelError, match="LazyConv2d has no shape for 'weight' yet"):
        convslim.trace(nn.LazyConv2d(4, 1), X)


def test_a_model_without_code_of_its_own_has_no_source_line():
    graph = convslim.trace(nn.Sequential(nn.Conv2d(3, 8, 1), nn.LogSoftmax(1)), X)
    assert [pin.source for group in graph.groups for pin in group.pins if pin.operation] == [""]


@pytest.mark.parametrize(
    "scale",
    [
        lambda x: torch.sqrt(torch.tensor(x.shape[1]).float()),
        lambda x: torch.full((1,), float(x.shape[1])),
        lambda x: x.new_full((), x.shape[1]),
        lambda x: torch.ones(1).fill_(x.shape[1]),
    ],
)
def test_a_number_of_channels_made_into_a_tensor_is_no_removal(scale):
    """The correlation of RAFT is divided by ``torch.sqrt(torch.tensor(channels))``."""
    net = Micro(lambda net, x: net.head((x := net.a(x)) / scale(x)), a=nn.Conv2d(3, 8, 1), head=nn.Conv2d(8, 2, 1))
    graph = convslim.trace(net.eval(), X, ways=("class",))
    assert not graph.group("a").prunable
    assert graph.group("a").pins[0].source.startswith("test_once_wrong.py:")
