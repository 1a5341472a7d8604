"""Movement: labels go where the elements go."""

import pytest
import torch
import torch.nn.functional as F
from tests.channels.sketch import conv, places, reasons, sketch, widths


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        (lambda x: x.contiguous().clone().detach().to(torch.float32), [0, 1, 2, 3]),
        (lambda x: x.permute(0, 2, 3, 1).transpose(1, -1).transpose(2, 3), [0, 1, 2, 3]),
        (lambda x: x.unsqueeze(1).squeeze(1), [0, 1, 2, 3]),
        (lambda x: x.flip(1), [3, 2, 1, 0]),
        (lambda x: x.flip((0, -3)), [3, 2, 1, 0]),
        (lambda x: x.flip((2, 3)), [0, 1, 2, 3]),
        (lambda x: x.roll(1, 1), [1, 2, 3, 0]),
        (lambda x: x.roll((2, -1), (3, 1)), [3, 0, 1, 2]),
        (lambda x: x.unsqueeze(0).expand(2, 1, 4, 8, 8).flatten(0, 1), [0, 1, 2, 3]),
        (lambda x: F.pad(x, (1, 1, 2, 2)), [0, 1, 2, 3]),
        (lambda x: x[:, :, ::2, 1:-1], [0, 1, 2, 3]),
        (lambda x: x[:, :, 3:4].expand(-1, -1, 8, -1), [0, 1, 2, 3]),
        (lambda x: x.index_select(2, torch.tensor([3, 1])), [0, 1, 2, 3]),
        (lambda x: x[:, :, torch.tensor([3, 1])], [0, 1, 2, 3]),
        (lambda x: x.unfold(2, 3, 2).flatten(3), [0, 1, 2, 3]),
        (lambda x: x.select(3, 2).unsqueeze(3), [0, 1, 2, 3]),
        (lambda x: x.unbind(2)[1].unsqueeze(2), [0, 1, 2, 3]),
        (lambda x: torch.stack([x, x], 4).amax(4), [0, 1, 2, 3]),
        (lambda x: torch.cat([x, x], 2), [0, 1, 2, 3]),
        (lambda x: x.split([3, 5], 2)[1], [0, 1, 2, 3]),
    ],
)
def test_where_the_channels_are_read(move, expected):
    """`expected[c]` is the input of the head at which channel `c` of the first layer arrives."""
    graph = sketch(lambda net, x: net.head(move(net.a(x))), a=conv(3, 4), head=conv(4, 2))
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2, 3], ("head.weight", 1): expected}


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        (lambda x: x.repeat(1, 2, 1, 1), [[0, 4], [1, 5], [2, 6], [3, 7]]),
        (lambda x: torch.cat([x, x.flip(1)], 1), [[0, 7], [1, 6], [2, 5], [3, 4]]),
        (lambda x: torch.cat((torch.zeros(1, 0, 8, 8), x, x), -3), [[0, 4], [1, 5], [2, 6], [3, 7]]),
        (lambda x: x.repeat_interleave(2, 1), [[0, 1], [2, 3], [4, 5], [6, 7]]),
        (lambda x: torch.stack([x, x], 2).flatten(1, 2), [[0, 1], [2, 3], [4, 5], [6, 7]]),
        (lambda x: torch.stack([x, x], 1).flatten(1, 2), [[0, 4], [1, 5], [2, 6], [3, 7]]),
    ],
)
def test_channels_that_are_read_twice(move, expected):
    graph = sketch(lambda net, x: net.head(move(net.a(x))), a=conv(3, 4), head=conv(8, 2))
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2, 3], ("head.weight", 1): expected}


def test_cat_joins_groups_and_leaves_constants_their_places():
    def run(net, x):
        return net.head(torch.cat([net.a(x), x, net.b(x)], 1))

    graph = sketch(run, a=conv(3, 4), b=conv(3, 2), head=conv(9, 2))
    assert places(graph, "a")["head.weight", 1] == [0, 1, 2, 3]
    assert places(graph, "b")["head.weight", 1] == [7, 8]
    assert widths(graph) == {"a": 4, "b": 2}


def test_cat_along_space_unites_the_channels():
    graph = sketch(
        lambda net, x: net.head(torch.cat([net.a(x), net.b(x)], 2)), a=conv(3, 4), b=conv(3, 4), head=conv(4, 2)
    )
    assert widths(graph) == {"a": 4}
    assert graph.group("a").producers == ("a", "b")


def test_cat_along_space_with_a_constant_pins():
    ones = torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 2, 8)
    graph = sketch(lambda net, x: net.head(torch.cat([net.a(x), ones], 2)), a=conv(3, 4), head=conv(4, 2))
    assert "meet a constant, whose positions stay (aten.cat.default" in reasons(graph, "a")


def test_cat_along_space_with_zeros_of_the_same_shape_is_free():
    def run(net, x):
        x = net.a(x)
        return net.head(torch.cat([x, torch.zeros_like(x)], 2))

    assert widths(sketch(run, a=conv(3, 4), head=conv(4, 2))) == {"a": 4}


def half(x):
    return x[:, : x.size(1) // 2], x[:, x.size(1) // 2 :]


@pytest.mark.parametrize(
    "halves", [half, lambda x: x.chunk(2, 1), lambda x: x.split(x.size(1) // 2, 1), lambda x: x.tensor_split(2, 1)]
)
def test_computed_halves_are_tied(halves):
    def run(net, x):
        first, second = halves(net.a(x))
        return net.head(first * second.sigmoid())

    graph = sketch(run, a=conv(3, 8), head=conv(4, 2))
    assert places(graph, "a") == {
        ("a.weight", 0): [[0, 4], [1, 5], [2, 6], [3, 7]],
        ("head.weight", 1): [0, 1, 2, 3],
    }
    assert "2 channels go together, because 2 equal parts stay equal" in graph.group("a").constraints[0]


def test_glu_ties_halves():
    graph = sketch(lambda net, x: net.head(F.glu(net.a(x), 1)), a=conv(3, 8), head=conv(4, 2))
    assert places(graph, "a")["a.weight", 0] == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_thirds_are_tied():
    def run(net, x):
        q, k, v = net.a(x).chunk(3, 1)
        return net.head(q * k + v)

    graph = sketch(run, a=conv(3, 9), head=conv(3, 2))
    assert places(graph, "a")["a.weight", 0] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


@pytest.mark.parametrize(
    ("cut", "free"),
    [
        (lambda x: torch.cat([x[:, :2] * 2, x[:, 2:]], 1), [2, 3, 4, 5, 6, 7]),
        (lambda x: torch.cat([x[:, :3] * 2, x[:, 3:]], 1), [3, 4, 5, 6, 7]),
        (lambda x: torch.cat([x.narrow(1, 0, 3) * 2, x[:, 3:]], 1), [3, 4, 5, 6, 7]),
    ],
)
def test_a_fixed_front_is_pinned_and_the_rest_is_free(cut, free):
    graph = sketch(lambda net, x: net.head(cut(net.a(x))), a=conv(3, 8), head=conv(8, 2))
    assert [places(graph, group.name)["a.weight", 0] for group in graph.prunable] == [free]
    assert "a slice counts these channels by a fixed number (aten.slice.Tensor, test_movement.py:" in reasons(
        graph, "a"
    )


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (lambda x: torch.cat(x.split([2, 6], 1)[::-1], 1), "a split has fixed sizes (aten.split_with_sizes.default"),
        (lambda x: torch.cat([x[:, ::2], x[:, 1::2]], 1), "a slice counts the channels by fixed numbers"),
        (lambda x: x * x[:, 3:4], "channels by a fixed number"),
        (lambda x: x * x[:, 3].unsqueeze(1), "a channel is picked by its number (aten.select.int"),
        (lambda x: torch.stack(x.unbind(1), 1), "the channels are taken apart one by one (aten.unbind.int"),
        (lambda x: x[:, [7, 6, 5, 4, 3, 2, 1, 0]], "channels are picked by fixed numbers (aten.index.Tensor"),
        (lambda x: x.index_select(1, torch.arange(8)), "channels are picked by fixed numbers (aten.index_select"),
        (lambda x: F.pad(x, (0, 0, 0, 0, -1, 1)), "channels are cropped by a fixed number (aten.constant_pad_nd"),
        (lambda x: x.unfold(1, 1, 1).squeeze(-1), "windows run along the channel dimension (aten.unfold"),
    ],
)
def test_numbers_that_count_channels_pin_them(cut, reason):
    graph = sketch(lambda net, x: net.head(cut(net.a(x))), a=conv(3, 8), head=conv(8, 2))
    assert reason in reasons(graph, "a")


def test_padded_channels_are_places_without_a_channel():
    def run(net, x):
        return net.head(F.pad(net.a(x), (0, 0, 0, 0, 1, 2)))

    graph = sketch(run, a=conv(3, 4), head=conv(7, 2))
    assert widths(graph) == {"a": 4}
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2, 3], ("head.weight", 1): [1, 2, 3, 4]}


def test_a_padded_shortcut_ties_the_middle_and_pins_the_rest():
    def run(net, x):
        x = net.a(x)
        y = net.b(x)
        more = (y.size(1) - x.size(1)) // 2
        return net.head(y + F.pad(x, (0, 0, 0, 0, more, more)))

    graph = sketch(run, a=conv(3, 4), b=conv(4, 8), head=conv(8, 2))
    assert widths(graph) == {"a": 4}
    assert places(graph, "a") == {
        ("a.weight", 0): [0, 1, 2, 3],
        ("b.weight", 0): [2, 3, 4, 5],
        ("b.weight", 1): [0, 1, 2, 3],
        ("head.weight", 1): [2, 3, 4, 5],
    }
    assert places(graph, "b")["b.weight", 0] == [0, 1, 6, 7]
    assert "the channels meet zero-padded channels, whose positions stay (aten.add.Tensor, test_mov" in reasons(
        graph, "b"
    )
