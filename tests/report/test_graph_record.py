"""The record of a channel graph is plain JSON, and its costs are those of removals that are carried out."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from tests.report.graph_samples import digits, everything
from torch import nn

import convslim
from convslim.report import GraphRecord, graph_record
from convslim.report.graph_reasons import reasons


@pytest.mark.parametrize("record", [digits(), everything()], ids=["digits_cnn", "everything"])
def test_record_survives_json(record: GraphRecord):
    assert GraphRecord.model_validate_json(record.model_dump_json()) == record


def test_record_refuses_unknown_keys():
    with pytest.raises(ValidationError, match="color"):
        GraphRecord.model_validate({**digits().model_dump(), "color": "red"})


def test_record_holds_what_the_graph_holds():
    model, x = convslim.models.create("digits_cnn"), torch.zeros(1, 1, 8, 8)
    graph, record = convslim.trace(model, x), digits()
    cost = convslim.cost(model, x)
    assert (record.macs, record.params, record.structure) == (cost.macs, cost.params, graph.structure)
    assert (record.way, record.way_reason) == (graph.way, graph.way_reason)
    assert [group.name for group in record.groups] == [group.name for group in graph.groups]
    assert [group.prunable for group in record.groups] == [group.prunable for group in graph.groups]
    assert record.channels() == sum(group.num_channels for group in graph.groups)
    for group, found in zip(graph.groups, record.groups, strict=True):
        assert [axis.tensor for axis in group.axes] == [axis.tensor for axis in found.axes]
        assert [pin.reason for pin in group.pins] == [pin.reason for pin in found.pins]


def test_costs_of_a_group_are_those_of_its_removal():
    model, x = convslim.models.create("digits_cnn"), torch.zeros(1, 1, 8, 8)
    # No layer both makes and reads this group, so that each of its channels costs the same.
    group = next(group for group in digits().groups if group.name == "block1.conv1")
    small = convslim.remove(
        model, convslim.make_plan(convslim.trace(model, x), {group.name: range(group.channels - 4)}), x
    )
    whole, less = convslim.cost(model, x), convslim.cost(small, x)
    assert 4 * group.macs == group.channels * (whole.macs - less.macs)
    assert 4 * group.params == group.channels * (whole.params - less.params)


def test_share_of_the_macs_that_can_go():
    # The 4 channels of the output stay, but all that they read can go, and all MACs with it.
    model = nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 4, 1))
    record = graph_record(convslim.trace(model, torch.zeros(1, 2, 5, 5)), "two")
    assert (record.macs, record.macs_prunable) == (25 * (16 + 32), 25 * (16 + 32))
    alone = graph_record(convslim.trace(nn.Sequential(nn.Conv2d(2, 8, 1)), torch.zeros(1, 2, 5, 5)), "one")
    assert (alone.macs, alone.macs_prunable) == (25 * 16, 0)


def test_approximate_groups_say_why():
    model = nn.Sequential(nn.Conv2d(2, 8, 1), nn.GroupNorm(1, 8), nn.Conv2d(8, 4, 1))
    record = graph_record(convslim.trace(model, torch.zeros(1, 2, 5, 5)), "normalized")
    assert [group.state for group in record.groups] == ["approximate", "pinned"]
    assert "normalization" in record.groups[0].approximations[0].reason
    assert record.channels("approximate") == 8


def test_links_are_layers_that_read_one_group_and_make_another():
    names = [group.name for group in digits().groups]
    links = {(names[source], names[target]) for source, target in digits().links()}
    assert ("stem", "block1.conv1") in links
    assert ("block1.conv1", "stem") in links  # the block's second convolution adds to the trunk
    assert ("head", "fc") in links
    assert all(source != target for source, target in links)
    assert len(links) == 9


def test_reasons_are_collected_with_their_places():
    (fixed, output) = reasons(everything(), "pins")
    assert (fixed.groups, fixed.channels) == ((3, 4), 16)
    (place,) = fixed.places
    assert place.source.endswith(".py:7")
    assert len(place.modules) == 2
    assert output.places[0].source == ""
    assert [reason.text for reason in reasons(everything(), "constraints")] == ["4 channels go together"]
    assert [reason.groups for reason in reasons(everything(), "approximations")] == [(1,)]
