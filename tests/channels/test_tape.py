"""The recorder: every operation with its module and line, and a model that notices nothing."""

import gc
import weakref
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convslim.channels.recorder import record
from convslim.channels.tape import as_arguments, named_tensors, output_tensors
from convslim.channels.undisturbed import undisturbed
from convslim.conformance.case import Micro, conv_norm
from convslim.errors import ModelError

from .sketch import X, conv


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv(3, 4)

    def forward(self, x):
        return self.scaled(self.conv(x).relu())

    def scaled(self, x):
        return x * 2


def line_of(function, offset):
    return f"test_tape.py:{function.__code__.co_firstlineno + offset}"


def tape_of(run, example=X, /, **parts):
    return record(Micro(run, **parts).eval(), example)


def test_calls_know_their_module_and_the_users_line():
    def run(net, x):
        x = net.blocks[1](net.blocks[0](x))
        return F.adaptive_avg_pool2d(x, 1)

    net = Micro(run, blocks=nn.ModuleList([Block(), conv(4, 2)]))
    found = [(call.name, call.module, call.module_kind, call.source) for call in record(net, X).calls]
    assert found == [
        ("convolution", "blocks.0.conv", "Conv2d", line_of(Block.forward, 1)),
        ("relu", "blocks.0", "Block", line_of(Block.forward, 1)),
        ("mul", "blocks.0", "Block", line_of(Block.scaled, 1)),
        ("convolution", "blocks.1", "Conv2d", line_of(run, 1)),
        ("mean", "", "Micro", line_of(run, 2)),
    ]


def test_names_and_arguments_follow_the_schema():
    def run(net, x):
        x = net.a(x).add_(1, alpha=2)
        return torch.cat([x, x], dim=1).sum((2, 3))

    convolution, add, cat, total = tape_of(run, a=conv(3, 4)).calls
    assert convolution["groups"] == 1
    assert convolution["transposed"] is False
    assert convolution["bias"] is None
    assert (add.name, add.title) == ("add", "aten.add_.Tensor")
    assert (add["other"], add["alpha"]) == (1, 2)
    assert cat["dim"] == 1
    assert [ref.id for ref in cat.inputs] == [add.outs[0].id] * 2
    assert (total["dim"], total["keepdim"]) == ([2, 3], False)


def test_tensors_are_numbers_with_shapes_and_names():
    def run(net, x):
        return net.a(net.a(x)) + net.shift

    tape = tape_of(run, a=conv(3, 3), shift=torch.ones(3, 1, 1))
    first, second, add = tape.calls
    assert [ref.name for ref in first.inputs] == ["", "a.weight"]
    assert first.inputs[1] == second.inputs[1]
    assert add.inputs[1].name == "shift"
    assert add.outs[0].shape == (1, 3, 8, 8)
    assert first.inputs[0] == tape.model_inputs[0]
    assert tape.outputs == add.outs
    assert len({ref.id for call in tape.calls for ref in (*call.inputs, *call.outs)}) == 6


def test_in_place_results_are_new_numbers():
    def run(net, x):
        x = net.a(x)
        return x.relu_() + x

    convolution, relu, add = tape_of(run, a=conv(3, 4)).calls
    assert relu.inputs[0] == convolution.outs[0]
    assert relu.outs[0] != relu.inputs[0]
    assert add.inputs == (relu.outs[0], relu.outs[0])


@pytest.mark.parametrize(
    ("write", "through_view"),
    [
        (lambda x: x.relu_(), False),
        (lambda x: x.relu(), False),
        (lambda x: (x[:, :2].mul_(2), x)[1], True),
        (lambda x: x[:, :2].clone().mul_(2), False),
        (lambda x: x.flatten(2).clamp_(0), True),
        (lambda x: x.view(-1).sum() + x.relu_(), False),
    ],
)
def test_writes_into_shared_memory_are_marked(write, through_view):
    tape = tape_of(lambda net, x: write(net.a(x)), a=conv(3, 4))
    assert any(call.through_view for call in tape.calls) == through_view


def test_a_written_base_is_marked_while_a_view_lives():
    def run(net, x):
        x = net.a(x)
        part = x[:, :2]
        x.relu_()
        return part

    assert [call.through_view for call in tape_of(run, a=conv(3, 4)).calls] == [False, False, True]


def test_an_exception_ends_the_tape():
    def run(net, x):
        x = net.a(x)
        raise RuntimeError("enough")

    tape = tape_of(run, a=conv(3, 4))
    assert [call.name for call in tape.calls] == ["convolution"]
    assert str(tape.error) == "enough"
    assert tape.outputs == ()


class Noisy(nn.Module):
    """Uses random numbers, has statistics, and may fail in the middle."""

    def __init__(self, fails=False):
        super().__init__()
        self.body = conv_norm(3, 4)
        self.frozen = conv_norm(4, 4).eval()
        self.fails = fails

    def forward(self, x):
        x = F.dropout(self.frozen(self.body(x)), 0.5, self.training) + torch.rand(1)
        if self.fails:
            raise ValueError("in the middle")
        return x


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_the_model_is_left_as_it_was(fails, training):
    net = Noisy(fails).train()
    net.frozen.eval()
    net.body.conv.weight.requires_grad_(False)
    flags = {name: module.training for name, module in net.named_modules()}
    values = {name: tensor.clone() for name, tensor in named_tensors(net).items()}
    identities = {name: id(tensor) for name, tensor in named_tensors(net).items()}
    random, fast = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    tape = record(net, X, training=training)
    assert (tape.error is not None) == fails
    assert {name: module.training for name, module in net.named_modules()} == flags
    assert {name: id(tensor) for name, tensor in named_tensors(net).items()} == identities
    assert all(torch.equal(tensor, values[name]) for name, tensor in named_tensors(net).items())
    assert [p.requires_grad for p in net.parameters()].count(False) == 1
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("training", [True, False])
def test_the_pass_runs_in_the_mode_that_was_asked_for(training):
    seen = []

    def run(net, x):
        seen.append((net.training, net.body.training, torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        return net.body(x)

    record(Micro(run, body=conv(3, 4)).train(not training), X, training=training)
    assert seen == [(training, training, False, False)]


def test_the_recorded_numbers_are_the_models():
    net = Noisy().eval()
    torch.manual_seed(3)
    tape = record(net, X)
    torch.manual_seed(3)
    assert torch.equal(tape.result, net(X))
    assert not tape.result.requires_grad


def test_undisturbed_restores_buffers_that_training_changes():
    net = Noisy().train()
    mean = net.body.norm.running_mean.clone()
    with undisturbed(net, training=True):
        net(X)
        assert not torch.equal(net.body.norm.running_mean, mean)
    assert torch.equal(net.body.norm.running_mean, mean)


@pytest.mark.parametrize(
    ("given", "args", "names"),
    [(X, 1, []), ((X, 2), 2, []), ([X], 1, []), ({"x": X, "y": None}, 0, ["x", "y"])],
)
def test_example_inputs_become_arguments(given, args, names):
    positional, named = as_arguments(given)
    assert (len(positional), sorted(named)) == (args, names)


@pytest.mark.parametrize("given", [None, 3, "image.png", object()])
def test_other_example_inputs_are_refused(given):
    with pytest.raises(ModelError, match=rf"example_input is a {type(given).__name__}; give a tensor, a tuple of"):
        as_arguments(given)


@dataclass
class Detection:
    boxes: torch.Tensor
    scores: list[torch.Tensor]


class Holder:
    def __init__(self, logits):
        self.logits = logits
        self.loss = None


def test_output_tensors_of_any_nesting():
    a, b, c = torch.zeros(1), torch.ones(2), torch.ones(3)
    assert [len(t) for t in output_tensors({"x": [a, (b, None)], "y": 3, "z": c})] == [1, 2, 3]
    assert [len(t) for t in output_tensors(Detection(b, [c, a]))] == [2, 3, 1]
    assert [len(t) for t in output_tensors([Holder(c)])] == [3]
    assert output_tensors("nothing") == []


def test_named_tensors_counts_shared_ones_once():
    net = nn.ModuleDict({"a": conv(3, 3), "b": conv(3, 3)})
    net["b"].weight = net["a"].weight
    net.register_buffer("table", torch.zeros(2), persistent=False)
    assert list(named_tensors(net)) == ["a.weight", "table"]


def test_a_tape_does_not_keep_the_model_alive():
    net = Noisy()
    tape, reference = record(net, X), weakref.ref(net)
    del net
    gc.collect()
    assert reference() is None
    assert tape.calls
