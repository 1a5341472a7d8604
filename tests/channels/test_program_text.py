"""A graph as JSON: what comes back, and what is refused."""

import copy
import json
import math

import pytest
import torch
from tests.channels.numbers_in_code import NETWORKS
from tests.channels.sketch import X, conv
from torch import nn

from convslim.channels.program.assemble import Program, assemble
from convslim.channels.program.export import export_program
from convslim.channels.tape import named_tensors
from convslim.conformance.case import Micro
from convslim.errors import ArtifactError, ConvslimError


def again(program: Program) -> Program:
    return Program.from_data(json.loads(json.dumps(program.to_data())))


@pytest.mark.parametrize("name", NETWORKS)
def test_json_comes_back_the_same(name):
    model = NETWORKS[name][0]().eval()
    program = export_program(model, X)
    assert again(program) == program
    assert torch.equal(assemble(again(program), named_tensors(model))(X), model(X))


def test_numbers_without_a_json_form_come_back():
    def run(n, x):
        y = n.a(x).masked_fill(x[:, :1] > 0, -math.inf).to(torch.float64)
        return {"y": torch.full((1, 8, 1, 1), math.nan).isnan() & (y > -1), 3: (y.contiguous(), None)}

    model = Micro(run, a=conv(3, 8)).eval()
    found, expected = assemble(again(export_program(model, X)), named_tensors(model))(X), model(X)
    assert torch.equal(found["y"], expected["y"])
    assert torch.equal(found[3][0], expected[3][0])
    assert found[3][0].dtype == torch.float64


DATA = export_program(
    nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(512, 4)).eval(), X
).to_data()


def node(op, target, *args, name="extra", **kwargs):
    return {
        "name": name,
        "op": op,
        "target": target,
        "args": list(args),
        "kwargs": kwargs,
        "module": "",
        "kind": "",
        "source": "",
    }


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (node("call_function", "os.system", "true"), "is a call_function of 'os.system'"),
        (node("call_function", "builtins.eval", "1"), "refused"),
        (node("call_function", "prims.add.default", 1), "refused"),
        (node("call_function", "aten.from_file.default", "/etc/hostname"), "refused"),
        (node("call_function", "aten.nothing.default", 1), "damaged"),
        (node("call_function", "getattr", {"node": "input_1"}, "__class__"), "reads an attribute"),
        (node("call_function", "getattr", {"node": "input_1"}, {"node": "input_1"}), "reads an attribute"),
        (node("call_method", "numpy", {"node": "input_1"}), "refused"),
        (node("get_attr", '0"); import os; ("'), "refused"),
        (node("get_attr", "0.absent"), "which its model lacks"),
        (node("call_module", "__class__"), "which its model lacks"),
        (node("placeholder", "x=print(1)"), "refused"),
        (node("placeholder", "y", {"dtype": "float32"}), "damaged"),
        (node("nothing", "x"), "refused"),
        (node("call_function", "operator.add", 1, 2, name="import"), "damaged"),
        (node("call_function", "operator.add", 1, 2, name="a\nimport os"), "damaged"),
        (node("call_function", "operator.add", {"node": "later"}, 2), "damaged"),
        (node("call_function", "operator.add", {"dtype": "nn"}, 2), "damaged"),
        (node("call_function", "operator.add", {"strange": 1}, 2), "damaged"),
        (node("call_function", "operator.add", {"a": 1, "b": 2}, 2), "damaged"),
    ],
)
def test_graphs_hold_what_graphs_hold_and_nothing_else(extra, message):
    data = copy.deepcopy(DATA)
    data["nodes"].insert(1, extra)
    model = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(512, 4))
    with pytest.raises(ArtifactError, match=message):
        assemble(Program.from_data(data), named_tensors(model))


def changed(**entries):
    return {**copy.deepcopy(DATA), **entries}


@pytest.mark.parametrize(
    "data",
    [
        changed(format=2),
        changed(modules={"": {}}),
        changed(modules={**DATA["modules"], "0": {**DATA["modules"]["0"], "kind": "Module"}}),
        changed(modules={**DATA["modules"], "0": {**DATA["modules"]["0"], "arguments": {"in_channels": 3}}}),
        changed(modules={**DATA["modules"], "9.9": DATA["modules"]["2"]}),
        changed(modules={**DATA["modules"], "7": {"like": "8"}}),
        changed(nodes="none"),
        changed(nodes=[{}]),
        changed(constants={"c0": {"dtype": "float32", "shape": [2], "bytes": "AAAA"}}),
        changed(constants={"c0": {"dtype": "nn", "shape": [1], "bytes": "AAAA"}}),
        changed(notes=None),
        {},
    ],
)
def test_damaged_graphs_are_refused(data):
    model = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(512, 4))
    with pytest.raises(ConvslimError):
        assemble(Program.from_data(data), named_tensors(model))


def test_a_missing_tensor_is_named():
    with pytest.raises(ArtifactError, match=r"tensor '1\.weight' of the graph is missing"):
        assemble(Program.from_data(DATA), named_tensors(nn.Sequential(conv(3, 8))))
