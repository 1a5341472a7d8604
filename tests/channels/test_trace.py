"""One forward pass to a graph: inputs and outputs of any shape, and errors that say what to do."""

import gc

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convslim import make_plan, remove, trace
from convslim.channels.tape import named_tensors
from convslim.conformance.case import Micro, conv_norm
from convslim.errors import ModelError

from .sketch import X, conv, reasons, sketch, widths


def plain(**more):
    return Micro(lambda net, x: net.head(net.a(x).relu()), a=conv(3, 4), head=conv(4, 2), **more).eval()


# ---- inputs -------------------------------------------------------------------------------------------------------


def two(net, x, y, factor=1.0, mode=None):
    z = net.a(x) + net.b(y) * factor
    return net.head(z if mode is None else F.interpolate(z, scale_factor=2, mode=mode))


@pytest.mark.parametrize(
    "example",
    [
        (X, X),
        [X, X],
        (X, X, 2.0, "nearest"),
        {"x": X, "y": X},
        {"y": X, "x": X, "mode": "nearest", "factor": 0.5},
    ],
)
def test_inputs_are_a_tensor_positions_or_keywords(example):
    graph = sketch(two, example, a=conv(3, 4), b=conv(3, 4), head=conv(4, 2))
    assert widths(graph) == {"a": 4}
    assert graph.group("a").producers == ("a", "b")


def test_inputs_may_be_nested():
    def run(net, batch):
        return net.head(net.a(batch["images"][0]) + net.a(batch["images"][1]))

    example = ({"images": [X, X], "name": "first", "ids": torch.tensor([1, 2])},)
    assert widths(sketch(run, example, a=conv(3, 4), head=conv(4, 2))) == {"a": 4}


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_batch_size_does_not_matter(batch):
    graph = sketch(
        lambda net, x: net.fc(net.a(x).mean((2, 3))), X.repeat(batch, 1, 1, 1), a=conv(3, 4), fc=nn.Linear(4, 2)
    )
    assert widths(graph) == {"a": 4}


def test_a_batch_as_large_as_the_channels_is_not_mistaken_for_them():
    example = torch.randn(4, 4, 4, 4)
    graph = sketch(lambda net, x: net.fc(net.a(x).flatten(1)), example, a=conv(4, 4), fc=nn.Linear(64, 4))
    assert widths(graph) == {"a": 4}


# ---- outputs ------------------------------------------------------------------------------------------------------


class Result:
    def __init__(self, logits):
        self.logits, self.note = logits, "none"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: y,
        lambda y: (y, None),
        lambda y: [{"a": {"b": (y,)}}, 3],
        lambda y: Result(y),
        lambda y: {"first": y[:, :2], "rest": y[:, 2:]},
    ],
)
def test_every_output_is_kept(wrap):
    graph = sketch(lambda net, x: wrap(net.head(net.a(x))), a=conv(3, 4), head=conv(4, 5))
    assert widths(graph) == {"a": 4}
    assert "output of the network" in reasons(graph, "head")


def test_features_that_are_returned_too_stay():
    graph = sketch(lambda net, x: (net.head(y := net.a(x)), y), a=conv(3, 4), head=conv(4, 2))
    assert widths(graph) == {}


@pytest.mark.parametrize("result", [None, 3.0, {"a": [None]}, "done"])
def test_a_model_without_tensors_in_its_output_is_named(result):
    with pytest.raises(ModelError, match=r"Micro returns no tensor, so there is nothing to keep equal"):
        sketch(lambda net, x: net.a(x) is None or result, a=conv(3, 4))


# ---- errors -------------------------------------------------------------------------------------------------------


def fails(net, x):
    raise KeyError("weights")


@pytest.mark.parametrize(
    ("model", "example", "message"),
    [
        (
            plain,
            torch.ones(1, 5, 8, 8),
            r"Micro fails on the example input: RuntimeError: .*expected input\[1, 5, 8, 8\]",
        ),
        (plain, torch.ones(3), r"Micro fails on the example input: RuntimeError: .*Give an example_input of the shape"),
        (plain, torch.ones(1, 3, 8, 8).long(), r"Micro fails on the example input: RuntimeError: .*type"),
        (plain, (X, X), r"Micro fails on the example input: TypeError: .*positional arguments"),
        (plain, {"image": X}, r"Micro fails on the example input: TypeError: .*'image'"),
        (plain, (), r"Micro fails on the example input: TypeError: .*missing 1 required positional argument: 'x'"),
        (
            lambda: Micro(fails, a=conv(3, 4)),
            X,
            r"Micro fails on the example input: KeyError: 'weights'\. Give an exam",
        ),
        (plain, None, r"example_input is a NoneType; give a tensor, a tuple"),
    ],
)
def test_a_model_that_does_not_run_says_why(model, example, message):
    with pytest.raises(ModelError, match=message):
        trace(model(), example)


def test_the_users_own_error_is_the_cause():
    with pytest.raises(ModelError) as caught:
        trace(Micro(fails, a=conv(3, 4)), X)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__cause__.__traceback__ is not None


def test_a_failed_trace_leaves_the_model_as_it_was():
    net = plain().train()
    before = {name: tensor.clone() for name, tensor in named_tensors(net).items()}
    with pytest.raises(ModelError):
        trace(net, torch.ones(1, 5, 8, 8))
    assert net.training
    assert gc.isenabled()
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(net).items())


# ---- odd models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Sequential(), nn.MaxPool2d(2)])
def test_models_without_parameters_have_no_groups(model):
    assert trace(model, X).groups == ()


def test_a_model_that_is_one_layer_has_nothing_to_prune():
    graph = trace(nn.Conv2d(3, 4, 1), X)
    assert graph.prunable == ()
    assert graph.tensors.keys() == {"weight", "bias"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_any_type_of_number(dtype):
    net = plain().to(dtype)
    graph = trace(net, X.to(dtype))
    assert widths(graph) == {"a": 4}
    small = remove(net, make_plan(graph, {"a": [1, 2]}), X.to(dtype), tolerance=1e-1)
    assert small.a.weight.dtype == dtype


def test_frozen_models_and_inputs_with_gradients():
    net = plain().requires_grad_(False)
    example = X.clone().requires_grad_()
    assert widths(trace(net, example)) == {"a": 4}
    assert example.grad is None


def test_hooks_of_the_user_run_and_stay():
    net, seen = plain(), []
    handle = net.a.register_forward_hook(lambda module, args, out: seen.append(out.shape[1]) or out * 2)
    graph = trace(net, X)
    assert widths(graph) == {"a": 4}
    assert seen[0] == 4
    small = remove(net, make_plan(graph, {"a": [0, 1]}), X)
    assert len(small.a._forward_hooks) == 1
    handle.remove()
    assert not net.a._forward_hooks


def test_a_trace_is_repeatable():
    net = plain()
    first, second = trace(net, X), trace(net, X)
    assert first.structure == second.structure
    assert [group.name for group in first.groups] == [group.name for group in second.groups]


# ---- branches of training -----------------------------------------------------------------------------------------


class Auxiliary(nn.Module):
    """A second head that only training uses."""

    def __init__(self, fails=False):
        super().__init__()
        self.stem, self.head, self.aux = conv_norm(3, 6), conv(6, 2), conv(6, 2)
        self.fails = fails

    def forward(self, x):
        x = self.stem(x)
        if not self.training:
            return self.head(x)
        if self.fails:
            raise ValueError("no labels")
        return self.head(x), self.aux(x)


def test_a_branch_of_training_is_cut_along():
    net = Auxiliary()
    graph = trace(net, X)
    assert widths(graph) == {"stem.conv": 6}
    assert graph.group("stem.conv").consumers == ("head", "aux")
    assert graph.notes == ()
    assert [call.module for call in graph.calls] == ["stem.conv", "head"]
    small = remove(net, make_plan(graph, {"stem.conv": [0, 5]}), X)
    assert [y.shape[1] for y in small.train()(X.repeat(2, 1, 1, 1))] == [2, 2]


def test_statistics_do_not_change_by_tracing_a_training_branch():
    net = Auxiliary().train()
    mean, count = net.stem.norm.running_mean.clone(), int(net.stem.norm.num_batches_tracked)
    trace(net, X)
    assert torch.equal(net.stem.norm.running_mean, mean)
    assert int(net.stem.norm.num_batches_tracked) == count
    assert net.training


def test_a_branch_that_fails_in_training_is_noted():
    graph = trace(Auxiliary(fails=True), X)
    (note,) = graph.notes
    assert "1 parameters are not reached (aux.weight, ...)" in note
    assert "no labels" in note
    assert graph.unused == ("aux.weight",)
