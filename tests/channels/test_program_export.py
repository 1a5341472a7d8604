"""A model written down as a graph: names, modes, sizes, what is left out."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.channels.numbers_in_code import training
from tests.channels.sketch import X, conv
from torch import Tensor, fx, nn

from convslim.channels.program.assemble import assemble, describe, is_program
from convslim.channels.program.export import export_program
from convslim.channels.recorder import record
from convslim.channels.tape import ExampleInput, named_tensors
from convslim.conformance.case import Micro
from convslim.errors import ExportError


def program_of(model: nn.Module, example: ExampleInput = X) -> fx.GraphModule:
    return assemble(export_program(model, example), named_tensors(model))


def test_names_are_the_models_own():
    model = training().eval()
    program = program_of(model)
    assert list(program.state_dict()) == list(model.state_dict())
    assert all(a is b for a, b in zip(program.parameters(), model.parameters(), strict=True))
    assert type(program.norm) is nn.BatchNorm2d
    assert torch.equal(program(X), model(X))


def test_the_model_is_left_as_it_was():
    model = training().train()
    model.norm.eval()
    before = copy.deepcopy(model.state_dict())
    flags, state = [m.training for m in model.modules()], torch.get_rng_state()
    program = program_of(model)
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert (program.training, program.norm.training) == (True, False)


def test_statistics_move_in_training_mode_only():
    program = copy.deepcopy(program_of(training()))
    for mode in (False, True):
        program.train(mode)
        before = {name: buffer.clone() for name, buffer in program.named_buffers()}
        program(torch.cat([X, X + 1]))
        moved = {name for name, buffer in program.named_buffers() if not torch.equal(buffer, before[name])}
        expected = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked", "mean", "variance"}
        assert moved == (expected if mode else set())


def test_dropout_acts_in_training_mode_only():
    program = program_of(
        Micro(lambda n, x: F.dropout(n.drop(n.a(x)), 0.5, n.training), a=conv(3, 8), drop=nn.Dropout())
    )
    program.train()
    assert not torch.equal(program(X), program(X))
    program.drop.eval()
    assert not torch.equal(program(X), program(X)), "the functional dropout follows the whole network"
    program.eval()
    assert torch.equal(program(X), program(X))


def test_a_layer_that_is_always_in_evaluation_stays_so():
    def run(n: Any, x: Tensor) -> Tensor:
        y = n.a(x)
        return F.batch_norm(y, n.norm.running_mean, n.norm.running_var, n.norm.weight, n.norm.bias, False, 0.1, 1e-5)

    program = copy.deepcopy(program_of(Micro(run, a=conv(3, 8), norm=nn.BatchNorm2d(8)))).train()
    program(X)
    assert not program.norm.running_mean.any()


def test_what_only_training_does_is_noted():
    def run(n: Any, x: Tensor) -> Tensor:
        y = n.a(x)
        return y * (torch.rand(len(x), 1, 1, 1) > 0.2) if n.training else y

    notes = export_program(Micro(run, a=conv(3, 8)), X).notes
    assert [note for note in notes if "what the class runs in training mode only: 3 operations in Micro (3)" in note]
    assert export_program(training(), X).notes == ()


def test_sizes_stay_free():
    model = nn.Sequential(conv(3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    program = program_of(model)
    for shape in ((1, 3, 8, 8), (5, 3, 8, 8), (2, 3, 17, 9)):
        x = torch.randn(shape)
        assert torch.equal(program(x), model(x))


def test_a_graph_of_one_size_says_so():
    model = Micro(lambda n, x: n.a(x).reshape(len(x), -1), a=conv(3, 8)).eval()
    assert export_program(model, X).notes == ("The graph runs at the example input's shape only, batch included.",)


def test_no_device_is_left_in_the_graph():
    def run(n: Any, x: Tensor) -> Tensor:
        return (
            n.a(x) + torch.arange(8, device=x.device).view(1, 8, 1, 1) + torch.ones(1, dtype=x.dtype, device=x.device)
        )

    model = Micro(run, a=conv(3, 8)).eval()
    program = program_of(model)
    assert "device(" not in program.code
    assert "args_0.device" in program.code
    meta = copy.deepcopy(program).to("meta")
    assert meta(X.to("meta")).device.type == "meta"


def test_inputs_by_name_and_nested_outputs():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = conv(3, 8)

        def forward(self, image: Tensor, gate: Tensor) -> dict[str, Any]:
            return {"y": self.a(image) * gate, "both": [image, gate]}

    model = Gated().eval()
    example = {"image": X, "gate": torch.rand(1, 8, 1, 1)}
    found, expected = program_of(model, example)(**example), model(**example)
    assert torch.equal(found["y"], expected["y"])
    assert torch.equal(found["both"][1], example["gate"])


def test_shared_tensors_and_modules_stay_shared():
    shared = conv(3, 3)
    model = Micro(lambda n, x: n.one(n.two(x)) + F.conv2d(x, n.three.weight), one=shared, two=shared, three=conv(3, 3))
    model.three.weight = shared.weight
    program = copy.deepcopy(program_of(model.eval()))
    assert program.one is program.two
    assert program.three.weight is program.one.weight
    assert program.state_dict().keys() == model.state_dict().keys()


def test_copies_and_the_recorder_know_a_program():
    program = program_of(training().eval())
    again = copy.deepcopy(program)
    assert is_program(again)
    assert describe(again) == describe(program)
    calls = record(again, X).calls
    assert {call.module for call in calls if call.name == "native_batch_norm"} <= {"norm", ""}
    assert {call.source.partition(":")[0] for call in calls} == {"case.py"}, "the line of the innermost forward"
    assert all(call.node for call in calls)


@pytest.mark.parametrize(
    ("run", "example", "message"),
    [
        (lambda n, x: n.a(x[0]), ([X],), "takes inputs that are not plain tensors"),
        (lambda n, x: n.a(x) if float(x.sum()) else x, X, "cannot be written as a graph"),
        (lambda n, x: torch.return_types.max((n.a(x).flatten(1), n.a(x))), X, "returns a max"),
    ],
)
def test_what_cannot_be_written_is_said(run, example, message):
    with pytest.raises(ExportError, match=message):
        export_program(Micro(run, a=conv(3, 8)).eval(), example)
