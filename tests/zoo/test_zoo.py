"""A sample of timm's and torchvision's families: half of the channels go, proven, and the caller notices nothing.

The whole list, some 350 networks, is `benchmarks/coverage.py`'s.
"""

import importlib.util

import pytest
import torch
from benchmarks.coverage_subject import build, changes, fitting, state_of
from torch.utils._pytree import tree_map_only

import convslim
from convslim.allocate.allocation import solve
from convslim.channels.tape import as_arguments, output_tensors
from convslim.channels.undisturbed import undisturbed
from convslim.surgery import carry_out

# The fraction of the MACs that goes with half of the channels: three quarters where no channel is pinned.
FAMILIES = {
    "torchvision:squeezenet1_1": 0.64,  # fire modules: concatenation
    "torchvision:shufflenet_v2_x0_5": 0.59,  # channel shuffle
    "torchvision:lraspp_mobilenet_v3_large": 0.68,  # segmentation: two branches, resizing
    "torchvision:r3d_18": 0.73,  # video: convolutions in time and space
    "timm:convnext_zepto_rms": 0.70,  # normalization over channels, layer scale
    "timm:levit_128s": 0.58,  # attention with biases and BatchNorm
    "timm:mobilevit_xxs": 0.64,  # transformer on patches within a CNN
    "timm:densenet121": 0.72,  # everything is concatenated
    "timm:ghostnet_050": 0.46,  # slices of concatenations
    "timm:dla46x_c": 0.68,  # trees, grouped convolutions
    "timm:cs3darknet_s": 0.56,  # chunks
    "timm:resnest14d": 0.73,  # split attention: softmax over branches
    "timm:skresnet18": 0.44,  # selective kernels
    "timm:hrnet_w18_small": 0.72,  # four resolutions, each added to each
    "timm:mobileone_s1": 0.70,  # parallel convolutions, to be merged later
    "timm:nf_regnet_b0": 0.60,  # standardized weights
    "timm:ese_vovnet19b_slim_dw": 0.65,  # one-shot aggregation
    "timm:swiftformer_xs": 0.68,  # additive attention
    "timm:starnet_s050": 0.65,  # branches multiplied
    "timm:lcnet_035": 0.60,  # squeeze and excitation
}
CUT = {"ratios": {"*": 0.5}, "how": "per-group", "round_to": 1}


def evaluate(model, example):
    with undisturbed(model):
        return model(*as_arguments(example)[0])


def doubled(tensor):
    return torch.cat([tensor, tensor + torch.randn_like(tensor)])


def learning(model, example):
    """Names of the parameters that one backward pass in training mode reaches, all with finite gradients."""
    model.train()
    arguments, _ = as_arguments(tree_map_only(torch.Tensor, doubled, example))
    sum(tensor.float().square().mean() for tensor in output_tensors(model(*arguments))).backward()
    reached = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert all(gradient.isfinite().all() for gradient in reached.values())
    return set(reached)


@pytest.mark.parametrize("spec", FAMILIES)
def test_half_of_the_channels_go(spec):
    library = spec.partition(":")[0]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}")
    model = build(spec)
    _, example, whole = fitting(spec, model, evaluate)
    before = state_of(model)
    graph = convslim.trace(model, example)
    assert changes(before, state_of(model)) == []
    solution = solve(graph, convslim.score(graph, model, "l1"), {}, **CUT)
    removal = carry_out(model, solution.plan, example, graph=graph)
    assert changes(before, state_of(model)) == []
    assert removal.certificate.relative_error < 1e-5
    assert removal.certificate.num_outputs == len(output_tensors(whole))
    assert 1 - solution.macs / solution.original_macs >= FAMILIES[spec]
    assert sum(parameter.numel() for parameter in removal.model.parameters()) == solution.params
    assert learning(removal.model, example) == learning(model, example)
