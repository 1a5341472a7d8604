"""Which channels enter an activation: the published rules of the detector, and inner channels of blocks elsewhere."""

import pytest
import torch

import convslim
from convslim.criteria import score
from convslim.criteria.activated import activated
from convslim.errors import PlanError


def test_the_published_rules_of_the_detector_follow_from_the_graph():
    model = convslim.models.create("yolov3_mobilenetv2")
    graph = convslim.trace(model, torch.zeros(1, 3, 64, 64))
    scores = score(graph, model, "bn_scale", options={"which": "first"}).only(activated(graph))
    assert sum(len(values) for values in scores.values.values()) == 16_864
    projections = {f"features.{block}.conv.2" for block in (2, 4, 7, 11, 14, 17)} | {"features.1.conv.1"}
    assert set(scores.unscored) == projections
    pinned = {group.name for group in graph.groups if group.pins}
    assert pinned == {f"head_{scale}.predict" for scale in ("small", "middle", "large")}


def test_depthwise_channels_follow_their_input():
    model = convslim.models.create("yolov3_mobilenetv2", width=0.25)
    with torch.no_grad():
        model.features[2].conv[0][1].weight.uniform_()
        model.features[2].conv[1][1].weight.uniform_()
    graph = convslim.trace(model, torch.zeros(1, 3, 64, 64))
    scores = score(graph, model, "bn_scale", options={"which": "first"})
    expected = model.features[2].conv[0][1].weight.detach().double()
    assert torch.equal(torch.from_numpy(scores.values["features.2.conv.0.0"]), expected)


@pytest.mark.parametrize(
    ("name", "shape", "left"),
    [
        ("resnet20_cifar", (1, 3, 32, 32), ["conv1", "layer2.0.conv2", "layer3.0.conv2"]),
        ("vgg16_bn_cifar", (1, 3, 32, 32), []),
        ("digits_cnn", (1, 1, 8, 8), ["stem", "block2.conv2"]),
    ],
)
def test_residual_trunks_and_projections_stay(name, shape, left):
    graph = convslim.trace(convslim.models.create(name), torch.zeros(shape))
    assert [group.name for group in graph.prunable if group.name not in activated(graph)] == left


def test_which_is_one_of_two():
    with pytest.raises(PlanError, match="which is 'last'; it must be one of all, first"):
        convslim.criteria.named("bn_scale", {"which": "last"})
