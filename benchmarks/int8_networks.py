"""Int8 files of many networks: does every layer run with integer kernels, does the file agree with the simulation?

Random weights, BatchNorm statistics of random images, then calibration and export; nothing is downloaded. Random
weights can amplify a last bit until it decides which class is highest. So the simulation is also compared with itself,
on images in which one number is a step of its grid higher: a file cannot be expected to agree better than that.

    python benchmarks/int8_networks.py                      # the list below
    python benchmarks/int8_networks.py timm:resnet18        # these
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, fx
from torch.nn.modules.batchnorm import _BatchNorm

from convslim import models
from convslim.errors import ConvslimError
from convslim.export import export_int8
from convslim.quantize import quantize
from convslim.quantize.prepare import grids_of

SIZE, IMAGES = 64, 128
NETWORKS = (
    "resnet20_cifar",
    "resnet56_cifar",
    "vgg16_bn_cifar",
    "timm:resnet18",
    "timm:resnet50",
    "timm:mobilenetv2_100",
    "timm:mobilenetv3_small_100",
    "timm:efficientnet_b0",
    "timm:regnety_002",
    "timm:densenet121",
    "timm:ghostnet_100",
    "timm:repvgg_a0",
    "timm:res2net50_26w_4s",
    "timm:convnext_atto",
    "torchvision:googlenet",
    "torchvision:shufflenet_v2_x0_5",
    "torchvision:squeezenet1_1",
    "torchvision:mnasnet0_5",
)


def main(specs: list[str]) -> None:
    """Print one row of a table for every network."""
    print("| network | integer | float | file / float32 | error | agreement | itself, one input a step higher | s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for spec in specs or NETWORKS:
        started = time.process_time()
        try:
            row = measure(spec)
        except ConvslimError as error:
            row = f"failed: {error}"
        print(f"| {spec} | {row} | {time.process_time() - started:.0f} |", flush=True)


def measure(spec: str) -> str:
    """Layers by kernel, size, and agreement of the file with the simulation."""
    torch.manual_seed(0)
    model = models.create(spec, **({"init_weights": True} if "googlenet" in spec else {}))
    size = 32 if "cifar" in spec else SIZE
    images = torch.randn(IMAGES, 3, size, size)
    for norm in (module for module in model.modules() if isinstance(module, _BatchNorm)):
        norm.momentum = 0.9
    with torch.no_grad():
        for _ in range(2):
            model.train()(images[:64])
    done = quantize(model.eval(), images, ranges="minmax", correct_bias=False)
    with tempfile.TemporaryDirectory() as folder:
        report = export_int8(done.model, images, Path(folder) / "net.onnx", allow_float=["*"])
    stored = 4 * sum(tensor.numel() for tensor in model.state_dict().values())
    kernels = report.kernels
    agreement = "" if report.agreement is None else f"{report.agreement:.1%}"
    return (
        f"{len(kernels.integer)} | {len(kernels.real)} {' '.join(kernels.real[:3])} | {report.bytes / stored:.2f} | "
        f"{report.error:.1e} | {agreement} | {disturbed(done.model, images)}"
    )


def disturbed(simulation: fx.GraphModule, images: Tensor) -> str:
    """Error and agreement of a simulation with itself, one number of every image a step of the input's grid higher."""
    step = next(iter(grids_of(simulation).values())).grid().scale
    places = torch.randint(images[0].numel(), (len(images), 1), generator=torch.Generator().manual_seed(0))
    other = images.flatten(1).scatter_add(1, places, step.expand(len(images), 1)).reshape(images.shape)
    with torch.no_grad():
        first, second = simulation(images), simulation(other)
    error = (first - second).square().sum() / (first - first.mean()).square().sum()
    return f"{float(error):.1e}, {(first.argmax(1) == second.argmax(1)).double().mean():.1%}"


if __name__ == "__main__":
    main(sys.argv[1:])
