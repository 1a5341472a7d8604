"""Reductions and scans: over space channels pass; over channels they are read, approximate, or pinned."""

import pytest
import torch
import torch.nn.functional as F
from tests.channels.sketch import X, as_image, conv, places, reasons, sketch, widths
from torch import nn

from convslim import trace
from convslim.conformance.case import Micro

OVER = {
    "mean": lambda x, dim: x.mean(dim, keepdim=True),
    "sum": lambda x, dim: x.sum(dim, keepdim=True),
    "amax": lambda x, dim: x.amax(dim, keepdim=True),
    "max": lambda x, dim: x.max(dim, keepdim=True)[0],
    "min": lambda x, dim: x.min(dim, keepdim=True).values,
    "var": lambda x, dim: x.var(dim, keepdim=True),
    "std_mean": lambda x, dim: torch.std_mean(x, dim, keepdim=True)[1],
    "logsumexp": lambda x, dim: x.logsumexp(dim, keepdim=True),
    "linalg_vector_norm": lambda x, dim: x.norm(dim=dim, keepdim=True),
    "prod": lambda x, dim: x.prod(dim, keepdim=True),
    "median": lambda x, dim: x.median(dim, keepdim=True)[0],
    "nansum": lambda x, dim: x.nansum(dim, keepdim=True),
    "argmax": lambda x, dim: x.argmax(dim, keepdim=True).float(),
    "any": lambda x, dim: x.any(dim, keepdim=True).float(),
    "count_nonzero": lambda x, dim: x.count_nonzero(dim).unsqueeze(dim).float(),
}
ALONG = {
    "softmax": lambda x, dim: x.softmax(dim),
    "log_softmax": lambda x, dim: x.log_softmax(dim),
    "cumsum": lambda x, dim: x.cumsum(dim),
    "cumprod": lambda x, dim: x.cumprod(dim),
    "sort": lambda x, dim: x.sort(dim)[0],
    "logcumsumexp": lambda x, dim: x.logcumsumexp(dim),
    "cummax": lambda x, dim: x.cummax(dim)[0],
}
KNOWN = set(OVER) - {"median", "count_nonzero"}
STATISTICS = {"mean", "amax", "max", "min", "var", "std_mean", "softmax"}
SUMS = {"sum", "linalg_vector_norm"}


def network(operation, dim):
    return sketch(lambda net, x: net.head((x := net.a(x)) * operation(x, dim)), a=conv(3, 4), head=conv(4, 2))


@pytest.mark.parametrize("name", [*sorted(KNOWN), *ALONG])
@pytest.mark.parametrize("dim", [2, -1])
def test_over_space_the_channels_pass(dim, name):
    graph = network((OVER | ALONG)[name], dim)
    assert places(graph, "a") == {("a.weight", 0): [0, 1, 2, 3], ("head.weight", 1): [0, 1, 2, 3]}


@pytest.mark.parametrize("name", sorted(STATISTICS))
@pytest.mark.parametrize("dim", [1, -3])
def test_statistics_of_the_channels_are_approximate(dim, name):
    (group,) = network((OVER | ALONG)[name], dim).prunable
    assert [pin.reason for pin in group.approximations] == [f"{name} runs over the channels"]
    assert not group.exact


@pytest.mark.parametrize("name", sorted(SUMS))
@pytest.mark.parametrize("dim", [1, -3])
def test_a_sum_over_the_channels_is_exact(dim, name):
    (group,) = network(OVER[name], dim).prunable
    assert group.exact


@pytest.mark.parametrize("name", [name for name in [*OVER, *ALONG] if name not in STATISTICS | SUMS])
@pytest.mark.parametrize("dim", [1, -3])
def test_over_channels_they_stay(dim, name):
    graph = network((OVER | ALONG)[name], dim)
    assert widths(graph) == {}
    if name in KNOWN | set(ALONG):
        assert f"{name} runs over the channels (aten." in reasons(graph, "a")
    assert ", test_reduce.py:" in reasons(graph, "a")


def test_operations_without_a_rule_pin_even_where_a_rule_would_free_them():
    assert "is an unknown operation" in reasons(network(OVER["median"], 2), "a")


def test_reduced_dimensions_move_the_others_up():
    def run(net, x):
        rows = net.a(x).mean(3).amax(-1)
        return net.fc(rows.unsqueeze(0).sum(0))

    graph = sketch(run, a=conv(3, 4), fc=nn.Linear(4, 2))
    assert places(graph, "a")["fc.weight", 1] == [0, 1, 2, 3]


def test_reducing_the_batch_keeps_the_channels():
    graph = sketch(lambda net, x: net.head(as_image(net.a(x).mean((0, 2, 3))[None])), a=conv(3, 4), head=conv(4, 2))
    assert widths(graph) == {"a": 4}


@pytest.mark.parametrize(
    ("total", "exact"), [(lambda x: x.mean(), False), (lambda x: x.abs().max(), False), (lambda x: x.sum(), True)]
)
def test_a_value_of_all_elements_is_a_statistic_of_the_channels(total, exact):
    graph = sketch(lambda net, x: net.head((x := net.a(x)) / total(x)), a=conv(3, 4), head=conv(4, 2))
    assert [group.exact for group in graph.prunable] == [exact]


@pytest.mark.parametrize("steer", [lambda x: float(x.mean()), lambda x: 1.0 if x.sum() > 0 else 2.0])
def test_a_number_that_steers_the_code_pins_what_it_depends_on(steer):
    graph = sketch(lambda net, x: net.head((x := net.a(x)) * steer(x)), a=conv(3, 4), head=conv(4, 2))
    assert "the code reads a number that depends on these channels (aten." in reasons(graph, "a")


def test_maximum_of_two_tensors_is_no_reduction():
    graph = sketch(lambda net, x: net.head(torch.max(net.a(x), net.b(x))), a=conv(3, 4), b=conv(3, 4), head=conv(4, 2))
    assert graph.group("a").producers == ("a", "b")


def test_unit_length_over_channels_is_exact_because_removed_ones_add_nothing():
    graph = sketch(lambda net, x: net.head(F.normalize(net.a(x), dim=1)), X, a=conv(3, 4), head=conv(4, 2))
    assert [group.exact for group in graph.prunable] == [True]


def test_approximate_groups_can_be_forbidden():
    net = Micro(lambda net, x: net.head((x := net.a(x)) - x.mean(1, keepdim=True)), a=conv(3, 4), head=conv(4, 2))
    assert not trace(net.eval(), X).group("a").exact
    pinned = trace(net, X, approximate=False).group("a")
    assert pinned.exact
    assert pinned.pins[0].reason == "mean runs over the channels"
