"""Selecting groups by name pattern."""

import pytest

from convslim import ChannelGraph, ChannelGroup
from convslim.allocate.names import kept_whole, ratios_by_group
from convslim.errors import PlanError

GRAPH = ChannelGraph(
    "0",
    (
        ChannelGroup("stem", 8, (), ("stem", "layer1.0.conv2"), ("layer1.0.conv1", "fc")),
        ChannelGroup("layer1.0.conv1", 8, (), ("layer1.0.conv1",), ("layer1.0.conv2",)),
        ChannelGroup("layer2.conv", 8, (), ("layer2.conv",), ("head",)),
    ),
    {},
    frozenset(),
    (),
)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ((), set()),
        (("layer2.*",), {"layer2.conv"}),
        (("head",), {"layer2.conv"}),
        (("layer1.0.conv?",), {"stem", "layer1.0.conv1"}),
        (("fc", "layer2.[a-d]onv"), {"stem", "layer2.conv"}),
    ],
)
def test_a_kept_layer_keeps_what_it_makes_and_reads(patterns: tuple[str, ...], expected: set[str]) -> None:
    assert kept_whole(GRAPH, patterns) == expected


def test_ratios_hold_for_makers_and_the_last_one_counts() -> None:
    assert ratios_by_group(GRAPH, {"*": 0.5, "layer1.*": 0.25}) == {
        "stem": 0.25,
        "layer1.0.conv1": 0.25,
        "layer2.conv": 0.5,
    }


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("layer2.con", r"'layer2.con' matches no layer or channel group of the model\. Did you mean 'layer2.conv'"),
        ("layer1", r"For everything inside it write 'layer1\.\*'"),
        ("xyz*", r"'xyz\*' matches no layer or channel group of the model\.$"),
    ],
)
def test_a_pattern_that_matches_nothing(pattern: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        kept_whole(GRAPH, ["stem", pattern])
    with pytest.raises(PlanError, match=message):
        ratios_by_group(GRAPH, {pattern: 0.5})


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 30])
def test_impossible_ratios(ratio: float) -> None:
    with pytest.raises(PlanError, match="fraction of channels that goes"):
        ratios_by_group(GRAPH, {"*": ratio})
