"""Plans: what they hold, what they refuse, and their JSON."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import convslim
from convslim import PruningPlan, make_plan, trace
from convslim.conformance.case import Micro, conv_norm, head
from convslim.errors import ArtifactError, PlanError

X = torch.ones(1, 3, 8, 8)


def run(net, x):
    x = net.a(x).relu()
    return net.head(x + net.c(net.b(x)))


def network(width=8):
    """Groups `a.conv` (residual, depthwise `b` inside) and `head`, which is pinned."""
    depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
    return Micro(run, a=conv_norm(3, width), b=depthwise, c=nn.Conv2d(width, width, 1), head=head(width)).eval()


GRAPH = trace(network(), X)
KEPT = st.sets(st.integers(0, 7), min_size=1)
quick = settings(deadline=None, database=None, max_examples=60)


def test_the_groups_are_what_the_tests_mean():
    assert [(group.name, group.num_channels, group.prunable) for group in GRAPH.groups] == [
        ("a.conv", 8, True),
        ("head", 4, False),
    ]


def test_a_plan_says_what_every_tensor_loses():
    plan = make_plan(GRAPH, {"a.conv": [5, 0, 2]})
    three = (0, 2, 5)
    norm = {f"a.norm.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")}
    assert plan.slices == {
        "a.conv.weight": {0: three},
        **{name: {0: three} for name in norm},
        "b.weight": {0: three},
        "b.bias": {0: three},
        "c.weight": {0: three, 1: three},
        "c.bias": {0: three},
        "head.weight": {1: three},
    }
    assert plan.kept == {"a.conv": three, "head": (0, 1, 2, 3)}
    assert plan.attributes == {"b.groups": 3}
    assert plan.removed == {"a.conv": 5}
    assert str(plan) == "1 of 2 groups, 5 of 12 channels"


@pytest.mark.parametrize("kept", [range(8), list(range(8)), np.arange(8), torch.arange(8)])
def test_keeping_everything_changes_nothing(kept):
    plan = make_plan(GRAPH, {"a.conv": kept, "head": [0, 1, 2, 3]})
    assert (plan.slices, plan.attributes, plan.removed) == ({}, {}, {})
    assert plan == make_plan(GRAPH, {})


REFUSED = {
    "unknown group": ({"a.cnv": [0]}, r"no channel group 'a\.cnv'\. Did you mean 'a\.conv'\?"),
    "too high": ({"a.conv": [1, 8]}, r"'a\.conv' has 8 channels but the plan keeps index 8\. .*this model's trace"),
    "negative": ({"a.conv": [-1, 3]}, r"'a\.conv' has 8 channels but the plan keeps index -1"),
    "double": ({"a.conv": [3, 1, 3]}, r"names a channel of group 'a\.conv' twice"),
    "empty": ({"a.conv": []}, r"keeps no channel of group 'a\.conv'; keep at least one of 8"),
    "pinned": ({"head": [0, 1]}, r"'head' is pinned and cannot lose channels: .*output of the network"),
    "mask": ({"a.conv": [True, False]}, r"keeps \[True, False\] of group 'a\.conv'; give a list of whole numbers"),
    "mask array": ({"a.conv": np.arange(8) > 3}, r"whole numbers, .*\(of a mask: its nonzero positions\)"),
    "fractions": ({"a.conv": [0.5, 1.5]}, r"keeps \[0\.5, 1\.5\] of group"),
    "text": ({"a.conv": ["0", "1"]}, r"whole numbers"),
    "set": ({"a.conv": {0, 1}}, r"keeps \{0, 1\} of group"),
    "number": ({"a.conv": 4}, r"keeps 4 of group"),
    "two dimensions": ({"a.conv": [[0, 1], [2, 3]]}, r"whole numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_plans_are_refused(case):
    kept, message = REFUSED[case]
    with pytest.raises(PlanError, match=message):
        make_plan(GRAPH, kept)


@quick
@given(kept=KEPT)
def test_json_gives_the_same_plan_back(kept):
    plan = make_plan(GRAPH, {"a.conv": sorted(kept)})
    again = PruningPlan.from_json(plan.to_json())
    assert again == plan
    assert again.to_json() == plan.to_json()


def test_files_give_the_same_plan_back(tmp_path):
    plan = make_plan(GRAPH, {"a.conv": [1, 4]})
    assert plan.save(tmp_path / "new" / "folder" / "plan.json").is_file()
    plan.save(tmp_path / "plan.json")
    assert plan.save(str(tmp_path / "plan.json")) == tmp_path / "plan.json"
    assert PruningPlan.load(str(tmp_path / "plan.json")) == plan
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "plan.json"]


def edited(**changes):
    """The JSON of a good plan with some entries replaced, or (None) left out."""
    data = json.loads(make_plan(GRAPH, {"a.conv": [1, 4]}).to_json()) | changes
    return json.dumps({key: value for key, value in data.items() if value is not None})


DAMAGED = {
    "empty": "",
    "no JSON": "not a plan",
    "a list": "[]",
    "a number": "3",
    "no format": edited(format=None),
    "deep": "[" * 100_000,
    "no groups": edited(kept=None),
    "groups are a list": edited(kept=["a.conv"]),
    "kept is a number": edited(kept={"a.conv": 3, "head": [0]}),
    "a fraction": edited(kept={"a.conv": [0.5], "head": [0]}),
    "a truth": edited(kept={"a.conv": [False], "head": [0]}),
    "descending": edited(kept={"a.conv": [4, 1], "head": [0]}),
    "negative": edited(kept={"a.conv": [-1, 1], "head": [0]}),
    "nothing kept": edited(kept={"a.conv": [], "head": [0]}),
    "beyond the width": edited(kept={"a.conv": [8], "head": [0]}),
    "a group is missing": edited(kept={"a.conv": [1]}),
    "a group too many": edited(kept={"a.conv": [1], "head": [0], "b": [0]}),
    "negative dimension": edited(slices={"a.conv.weight": {"-1": [0]}}),
    "dimension is a word": edited(slices={"a.conv.weight": {"x": [0]}}),
    "nothing left of a tensor": edited(slices={"a.conv.weight": {"0": []}}),
    "no conv group": edited(attributes={"b.groups": 0}),
    "another attribute": edited(attributes={"b.stride": 2}),
    "no channel": edited(channels={"a.conv": 0, "head": 4}),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_json_is_refused(case):
    with pytest.raises(PlanError, match=r"This is not a pruning plan: \w+: .+"):
        PruningPlan.from_json(DAMAGED[case])


def test_another_format_is_refused():
    with pytest.raises(PlanError, match="The plan has format 7, this version reads 1"):
        PruningPlan.from_json(edited(format=7))


@quick
@given(cut=st.integers(0, 1000))
def test_truncated_json_is_refused(cut):
    text = make_plan(GRAPH, {"a.conv": [1, 4]}).to_json()
    with pytest.raises(PlanError, match="not a pruning plan"):
        PruningPlan.from_json(text[: cut % len(text)])


@settings(quick, max_examples=150)
@given(place=st.integers(0, 10_000), replacement=st.characters(codec="ascii"))
def test_a_changed_character_is_refused_or_gives_a_whole_plan(place, replacement):
    text = make_plan(GRAPH, {"a.conv": [1, 4]}).to_json()
    place %= len(text)
    try:
        plan = PruningPlan.from_json(text[:place] + replacement + text[place + 1 :])
    except PlanError:
        return
    assert all(0 < len(plan.kept[name]) <= total for name, total in plan.channels.items())
    assert PruningPlan.from_json(plan.to_json()) == plan


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "absent.json", tmp_path / "binary.json", tmp_path):
        with pytest.raises(ArtifactError, match=rf"The plan {path} cannot be read"):
            PruningPlan.load(path)


@settings(quick, max_examples=8)
@given(first=st.sets(st.integers(0, 7), min_size=2), data=st.data())
def test_two_plans_in_a_row_are_one(first, data):
    one = make_plan(GRAPH, {"a.conv": sorted(first)})
    between = convslim.rebuild(network(), one)
    graph = trace(between, X)
    chosen = data.draw(st.sets(st.integers(0, len(first) - 1), min_size=1))
    two = make_plan(graph, {"a.conv": sorted(chosen)})
    assert one.then(two) == make_plan(GRAPH, {"a.conv": [sorted(first)[index] for index in sorted(chosen)]})


def test_a_plan_that_keeps_all_is_neutral():
    plan, nothing = make_plan(GRAPH, {"a.conv": [1, 4]}), make_plan(GRAPH, {})
    assert nothing.then(plan) == plan


def test_a_second_plan_for_another_model_is_refused():
    first, second = make_plan(GRAPH, {"a.conv": [1, 4, 6]}), make_plan(GRAPH, {"a.conv": [1]})
    with pytest.raises(PlanError, match=r"expects 8 channels in group 'a\.conv', but the first leaves 3\. Make"):
        first.then(second)
    other = trace(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)), X)
    with pytest.raises(PlanError, match=r"group '0', but the first leaves no\."):
        first.then(make_plan(other, {}))
