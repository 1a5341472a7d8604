"""The detector: counts of the publication, also when pruned; names of the backbone; errors."""

from functools import cache

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import convslim
from convslim import ChannelGraph, CostModel
from convslim.compat import import_optional
from convslim.errors import ModelError
from convslim.models.mobilenet_v2 import mobilenet_v2_features
from convslim.models.yolov3_mobilenetv2 import YOLOv3MobileNetV2

# Ratio of every scored layer that goes → parameters, convolution MACs in billions at 512 x 512, 20 classes.
PRUNED = {
    0.1: (5_714_453, 3.534),
    0.2: (4_733_072, 2.950),
    0.3: (3_839_826, 2.417),
    0.4: (3_031_732, 1.929),
    0.5: (2_303_873, 1.480),
    0.7: (1_126_320, 0.751),
}


@cache
def graph() -> ChannelGraph:
    return convslim.trace(YOLOv3MobileNetV2().eval(), torch.zeros(1, 3, 512, 512))


def scored() -> dict[str, int]:
    """All groups but those that linear projections make."""
    linear = {f"features.1.conv.{1}", *(f"features.{block}.conv.2" for block in range(2, 18))}
    return {group.name: group.num_channels for group in graph().prunable if not linear & set(group.producers)}


def test_the_published_rules_score_16864_channels():
    assert sum(scored().values()) == 16_864


@pytest.mark.parametrize("ratio", PRUNED)
def test_pruned_uniformly_it_has_the_published_counts(ratio):
    kept = {name: size - int(size * ratio) for name, size in scored().items()}
    model = CostModel(graph())
    params, gigamacs = PRUNED[ratio]
    assert model.params(kept) == params
    assert model.macs(kept) / 1e9 == pytest.approx(gigamacs, abs=5e-4)


def test_maps_of_three_scales_and_training():
    model = YOLOv3MobileNetV2(num_classes=3, width=0.25)
    outputs = model(torch.randn(2, 3, 64, 96))
    assert [tuple(output.shape) for output in outputs] == [(2, 24, 8, 12), (2, 24, 4, 6), (2, 24, 2, 3)]
    sum(output.square().sum() for output in outputs).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_cut_detector_is_proven():
    model, example = YOLOv3MobileNetV2(num_classes=3, width=0.25).eval(), torch.randn(1, 3, 64, 64)
    found = convslim.trace(model, example)
    kept = {group.name: list(range(0, group.num_channels, 2)) for group in found.prunable}
    small = convslim.remove(model, convslim.make_plan(found, kept), example, graph=found)
    assert [tuple(output.shape) for output in small(example)] == [(1, 24, 8, 8), (1, 24, 4, 4), (1, 24, 2, 2)]


def test_the_features_have_the_names_of_torchvision():
    try:
        torchvision = import_optional("torchvision")
    except ModelError as error:
        pytest.skip(str(error))
    theirs = torchvision.models.mobilenet_v2(weights=None).features
    own = mobilenet_v2_features()
    own.load_state_dict(theirs.state_dict())
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(own.eval()(image), theirs.eval()(image))


def test_the_features_are_loaded_from_a_file(tmp_path):
    own = mobilenet_v2_features(0.25)
    weights = {f"features.{name}": tensor for name, tensor in own.state_dict().items()}
    save_file({**weights, "classifier.1.bias": torch.zeros(1000)}, tmp_path / "mobilenet.safetensors")
    model = YOLOv3MobileNetV2(width=0.25, features=str(tmp_path / "mobilenet.safetensors"))
    assert all(torch.equal(tensor, weights[f"features.{name}"]) for name, tensor in model.features.state_dict().items())
    weights.pop("features.3.conv.2.weight")
    save_file(weights, tmp_path / "part.safetensors")
    with pytest.raises(ModelError, match=r"lacks 1 tensors of the features, for example features\.3\.conv\.2\.weight"):
        YOLOv3MobileNetV2(width=0.25, features=str(tmp_path / "part.safetensors"))


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"width": 0.0}])
def test_impossible_networks_are_refused(options):
    with pytest.raises(ModelError, match=next(iter(options))):
        YOLOv3MobileNetV2(**options)


def test_hardly_any_cell_holds_an_object_at_the_start():
    model = YOLOv3MobileNetV2(num_classes=2, width=0.25).eval()
    with torch.no_grad():
        output = model(torch.zeros(1, 3, 64, 64))[0].view(1, 3, 7, 8, 8)
    assert float(output[:, :, 4:].sigmoid().mean()) == pytest.approx(0.01, abs=0.005)
    assert np.isfinite(output.numpy()).all()
    assert isinstance(model, nn.Module)
