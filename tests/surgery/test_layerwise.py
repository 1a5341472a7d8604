"""Layer by layer, from shallow to deep, a plan gives what it gives at once, and every network on the way is proven."""

import pytest
import torch

import convslim
from convslim.surgery import carry_out
from convslim.surgery.layerwise import carry_out_layerwise

NETWORKS = {
    "digits_cnn": (lambda: convslim.models.create("digits_cnn"), (1, 1, 8, 8)),
    "detector": (lambda: convslim.models.create("yolov3_mobilenetv2", num_classes=2, width=0.1), (1, 3, 32, 32)),
    "residual": (lambda: convslim.models.create("resnet20_cifar"), (1, 3, 16, 16)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_equals_the_cut_at_once(name):
    factory, shape = NETWORKS[name]
    model, example = factory().eval(), torch.randn(shape)
    graph = convslim.trace(model, example)
    plan = convslim.make_plan(graph, {group.name: range(group.num_channels - 3) for group in graph.prunable[:6]})
    at_once = carry_out(model, plan, example, graph=graph).model
    seen = []
    layerwise = carry_out_layerwise(model, plan, example, graph=graph, on_cut=seen.append)
    assert type(layerwise.model).__name__ == type(at_once).__name__
    for (one, value), (other, expected) in zip(
        layerwise.model.state_dict().items(), at_once.state_dict().items(), strict=True
    ):
        assert one == other
        assert torch.equal(value, expected)
    assert layerwise.cuts == tuple(seen)
    assert [cut.group for cut in seen] == [group.name for group in graph.prunable[:6]]
    assert all(cut.relative_error <= 1e-4 for cut in seen)
    macs = [cut.macs for cut in seen]
    assert macs == sorted(macs, reverse=True)
    assert (macs[-1], seen[-1].params) == (convslim.cost(at_once, example).macs, convslim.cost(at_once, example).params)


def test_groups_that_stay_whole_are_no_cuts():
    model, example = convslim.models.create("digits_cnn").eval(), torch.randn(1, 1, 8, 8)
    graph = convslim.trace(model, example)
    first = graph.prunable[0]
    plan = convslim.make_plan(graph, {first.name: range(first.num_channels)})
    assert carry_out_layerwise(model, plan, example, graph=graph).cuts == ()
