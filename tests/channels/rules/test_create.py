"""New tensors: equal everywhere they fit any width, otherwise they are constants of the code."""

import pytest
import torch
from tests.channels.sketch import conv, places, reasons, sketch, widths


@pytest.mark.parametrize(
    "made",
    [
        lambda x: torch.zeros(x.shape),
        lambda x: torch.ones(1, x.size(1), 1, 1),
        lambda x: torch.full(x.shape, 0.5),
        lambda x: x.new_zeros(x.shape),
        lambda x: x.new_full((x.size(1), 1, 1), 2.0),
        lambda x: torch.zeros_like(x),
        lambda x: torch.full_like(x, 3.0),
        lambda x: torch.linspace(0, 1, 8),
        lambda x: torch.arange(8.0)[:, None],
        lambda x: torch.eye(8),
        lambda x: torch.scalar_tensor(2.0),
    ],
)
def test_constants_that_follow_the_width_are_no_obstacle(made):
    graph = sketch(lambda net, x: net.head((x := net.a(x)) + made(x)), a=conv(3, 4), head=conv(4, 2))
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2, 3], ("head.weight", 1): [0, 1, 2, 3]}


@pytest.mark.parametrize(
    "made",
    [
        lambda x: torch.arange(4.0)[:, None, None],
        lambda x: torch.arange(x.size(1), dtype=torch.float)[:, None, None],
        lambda x: torch.linspace(0, 1, x.size(1)).view(-1, 1, 1),
        lambda x: torch.zeros(4, 1, 1),
        lambda x: torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None],
    ],
)
def test_constants_per_channel_pin(made):
    graph = sketch(lambda net, x: net.head((x := net.a(x)) + made(x)), a=conv(3, 4), head=conv(4, 2))
    assert widths(graph) == {}
    assert "test_create.py:" in reasons(graph, "a")


def test_noise_per_channel_is_never_cut_wrongly():
    graph = sketch(lambda net, x: net.head((x := net.a(x)) + 0 * torch.rand_like(x)), a=conv(3, 4), head=conv(4, 2))
    assert widths(graph) == {"a": 4}
    graph = sketch(lambda net, x: net.head((x := net.a(x)) + torch.rand(x.shape)), a=conv(3, 4), head=conv(4, 2))
    assert "the channels meet a constant" in reasons(graph, "a")
