"""The trial removal: numbers that the code fixes are found and pinned; those it computes are not."""

import numpy as np
import pytest
import torch
from torch import nn

from convslim import trace
from convslim.channels.probe import compare, kept_labels, trial_kept
from convslim.channels.recorder import record
from convslim.channels.slicing import sliced_copy, slices_of
from convslim.conformance.case import Micro

from .sketch import X, conv, places, reasons, sketch, widths

FIXED = {
    "view": (
        lambda net, x: net.fc(net.a(x).mean((2, 3)).view(-1, 12)),
        {"fc": nn.Linear(12, 2)},
        "a number of channels is fixed in the code here (aten.view.default",
    ),
    "view of a map": (
        lambda net, x: net.head(net.a(x).view(-1, 12, 8, 8)),
        {},
        "a number of channels is fixed in the code here (aten.view.default",
    ),
    "split": (
        lambda net, x: net.head(torch.cat(net.a(x).split([4, 8], 1)[::-1], 1)),
        {},
        "a split has fixed sizes (aten.split_with_sizes.default",
    ),
    "equal split": (
        lambda net, x: net.head(torch.cat(net.a(x).split(6, 1)[::-1], 1)),
        {},
        "a split has fixed sizes (aten.split.Tensor",
    ),
    "reshape into heads": (
        lambda net, x: net.head(net.a(x).reshape(1, 3, 4, 8, 8).flip(2).reshape(1, 12, 8, 8)),
        {},
        "fixed in the code",
    ),
    "scale by the width": (
        lambda net, x: net.head(net.a(x) / net.a(x).size(1) ** 0.5),
        {},
        "a number of channels is fixed in the code here (aten.div.Tensor",
    ),
    "zeros of a fixed width": (
        lambda net, x: net.head(net.a(x) + torch.zeros(1, 12, 1, 1)),
        {},
        "(aten.add.Tensor",
    ),
    "expand to a fixed width": (
        lambda net, x: net.head(net.a(x) * net.one(x).expand(-1, 12, -1, -1)),
        {"one": conv(3, 1)},
        "test_probe.py:",
    ),
    "loop over a fixed range": (
        lambda net, x: net.head(torch.stack([net.a(x)[:, i] for i in range(12)], 1)),
        {},
        "a channel is picked by its number (aten.select.int",
    ),
    "an assertion": (
        lambda net, x: net.head(check(net.a(x))),
        {},
        "test_probe.py:",
    ),
    "a decision by width": (
        lambda net, x: net.head(decided(net.a(x), 9)),
        {},
        "test_probe.py:",
    ),
}  # fmt: skip


def decided(x, limit):
    return x.relu() if x.size(1) > limit else x.sigmoid()


def check(x):
    assert x.size(1) == 12, "twelve channels"
    return x.relu()


@pytest.mark.parametrize("name", FIXED)
def test_fixed_numbers_are_found(name):
    run, parts, reason = FIXED[name]
    graph = sketch(run, **{"a": conv(3, 12), "head": conv(12, 2), **parts})
    assert "a" not in widths(graph)
    assert reason in reasons(graph, "a")
    assert "test_probe.py:" in reasons(graph, "a")


COMPUTED = {
    "view": lambda net, x: net.head((y := net.a(x)).view(y.size(0), y.size(1), -1).view(y.shape)),
    "halves": lambda net, x: net.head(torch.cat((y := net.a(x)).split(y.size(1) // 2, 1)[::-1], 1)),
    "zeros": lambda net, x: net.head((y := net.a(x)) + torch.zeros(1, y.size(1), 1, 1)),
    "decision": lambda net, x: net.head(decided(net.a(x), 0)),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_computed_numbers_are_no_obstacle(name):
    graph = sketch(COMPUTED[name], a=conv(3, 12), head=conv(12, 2))
    assert widths(graph) == {"a": 6 if name == "halves" else 12}


def test_only_the_block_with_the_number_is_pinned():
    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.a, self.width = conv(4, width), width
            self.b = conv(width, 4)

        def forward(self, x):
            x = self.a(x)
            return self.b(x.view(x.size(0), 16, 8, 8) if self.width == 16 else x.view(x.shape))

    graph = sketch(
        lambda net, x: net.head(net.two(net.one(net.stem(x)))),
        stem=conv(3, 4), one=Block(16), two=Block(12), head=conv(4, 2),
    )  # fmt: skip
    assert widths(graph) == {"stem": 4, "one.b": 4, "two.a": 12, "two.b": 4}
    assert "(aten.view.default, in one, test_probe.py:" in reasons(graph, "one.a")


def test_the_same_line_for_several_blocks_is_found_at_once():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = conv(4, 12), conv(12, 4)

        def forward(self, x):
            return self.b(self.a(x).view(-1, 12, 8, 8))

    blocks = nn.ModuleList([Block() for _ in range(70)])  # more than there are trials

    def run(net, x):
        for block in net.blocks:
            x = block(x)
        return x

    graph = sketch(run, torch.ones(1, 4, 8, 8), blocks=blocks)
    assert all("aten.view.default" in reasons(graph, f"blocks.{number}.a") for number in range(70))


def test_trial_keeps_an_irregular_part_of_every_prunable_group():
    def run(net, x):
        return net.head(net.c(net.b(net.a(x))))

    graph = sketch(run, a=conv(3, 30), b=conv(30, 30), c=conv(30, 2), head=conv(2, 3))
    kept = trial_kept(graph)
    assert kept.keys() == {"a", "b", "c"}
    assert len(kept["c"]) == 1
    assert len({len(positions) for positions in (kept["a"], kept["b"])}) == 2, "equal counts would hide mix-ups"
    for name, positions in kept.items():
        assert (np.diff(positions) > 0).all()
        assert 0 < len(positions) < graph.group(name).num_channels
    assert len(set(np.diff(kept["a"]).tolist())) > 1
    assert all((a == b).all() for a, b in zip(kept.values(), trial_kept(graph).values(), strict=True))
    assert "c" not in trial_kept(graph, 2)


def test_kept_labels_mark_every_label_of_a_channel():
    graph = sketch(
        lambda net, x: net.fc(net.norm(net.a(x))[..., :2, :2].flatten(1)),
        a=conv(3, 4), norm=nn.BatchNorm2d(4), fc=nn.Linear(16, 2),
    )  # fmt: skip
    seeds = graph.evidence.labeler.seeds
    stays = kept_labels(graph, graph.evidence.labeler, {"a": [0, 3]})
    assert stays[0]
    assert stays[seeds["a.weight"][0]].tolist() == [True, False, False, True]
    assert stays[seeds["norm.running_var"][0]].tolist() == [True, False, False, True]
    assert stays[seeds["fc.weight"][1]].tolist() == [True] * 4 + [False] * 8 + [True] * 4
    assert stays[seeds["fc.weight"][0]].all()
    assert kept_labels(graph, graph.evidence.labeler, {}).all()


def prepared(kept, change=None):
    net = Micro(lambda net, x: net.head(net.act(net.a(x))), a=conv(3, 6), act=nn.ReLU(), head=conv(6, 2)).eval()
    graph = trace(net, X)
    small = sliced_copy(net, slices_of(graph, kept), {})
    if change:
        change(small)
    return compare(graph.evidence, record(small, X), kept_labels(graph, graph.evidence.labeler, kept))


def test_a_faithful_copy_has_no_mismatch():
    assert prepared({"a": [0, 2, 5]}) is None
    assert prepared({}) is None


@pytest.mark.parametrize(
    ("change", "index", "diverges", "message"),
    [
        (lambda small: setattr(small, "act", nn.Sigmoid()), 1, True, "runs aten.sigmoid.default where"),
        (lambda small: setattr(small, "act", nn.MaxPool2d(2)), 1, True, "runs aten.max_pool2d"),
        (lambda small: setattr(small.a, "stride", (2, 2)), 0, False, "dimension 2 has size 4 instead of 8"),
        (lambda small: setattr(small, "a", conv(3, 4)), 0, False, "dimension 1 has 4 channels instead of 3"),
        (lambda small: setattr(small, "run", lambda net, x: net.act(net.a(x))), 2, True, "model stops here"),
        (lambda small: setattr(small, "head", conv(5, 2)), 2, False, "the smaller model fails here: "),
    ],
)  # fmt: skip
def test_the_first_mismatch_is_named(change, index, diverges, message):
    mismatch = prepared({"a": [0, 2, 5]}, change)
    assert (mismatch.index, mismatch.diverges) == (index, diverges)
    assert message in mismatch.message


def test_numbers_of_pointwise_operations_must_be_equal():
    net = Micro(lambda net, x: net.head(net.a(x) * net.factor), a=conv(3, 6), head=conv(6, 2)).eval()
    net.factor = 2.0
    graph = trace(net, X)
    net.factor = 3.0
    mismatch = compare(graph.evidence, record(net, X), kept_labels(graph, graph.evidence.labeler, {}))
    assert (mismatch.index, mismatch.message) == (1, "a number passed to aten.mul.Tensor depends on the channel count")


def test_channels_that_leave_pytorch_are_pinned():
    def run(net, x):
        x = net.a(x)
        return net.head(torch.from_numpy(x.numpy()[:, ::-1].copy()))

    graph = sketch(run, a=conv(3, 6), b=conv(6, 6), head=conv(6, 2))
    assert "a" not in widths(graph)
    assert places(graph, "a")["a.weight", 0] == [0, 1, 2, 3, 4, 5]
