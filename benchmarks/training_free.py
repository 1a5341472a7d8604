"""Accuracy of smaller networks without a label and without training, on all CIFAR-10 test images.

Cut only, BatchNorm re-estimated, reconstructed, and reconstructed with the channels and widths that cost least error;
beside it Torch-Pruning's L1 and Taylor (which looks at labels). Run it from the root of the repository:

    export CONVSLIM_DATA=...          # holds cifar10/, cifar10-resnet-akamaster/ and cifar10-models-chenyaofo/
    python benchmarks/training_free.py --only resnet56-a                # one table of benchmarks/README.md
    python benchmarks/training_free.py --only shufflenet --budgets 0.6

The same fine-tuning from both starting points, three seeds each, with a recipe that has `reconstruct` behind `prune`
and with one that has `recalibrate` there instead:

    for seed in 1 2 3; do
      convslim run reconstructed.yaml --out runs/reconstructed-$seed --set seed=$seed
      convslim run recalibrated.yaml --out runs/recalibrated-$seed --set seed=$seed
    done
"""

from __future__ import annotations

import argparse
import copy
import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import convslim
from convslim.compress import compress
from convslim.data import DataSource, open_data
from convslim.surgery.reconstruction import reconstruct_
from convslim.train import evaluate, recalibrate

AKAMASTER = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CHENYAOFO = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}
BUDGETS = (0.7, 0.6, 0.5, 0.47, 0.4, 0.33)
BATCH = 100


def shufflenet() -> nn.Module:
    """ShuffleNetV2 ×0.5 for 32×32 images: torchvision's, without the first stride and pooling."""
    model = convslim.models.create("torchvision:shufflenet_v2_x0_5", num_classes=10)
    model.conv1[0].stride = (1, 1)
    model.maxpool = nn.Identity()
    return model


def cifar_resnet(name: str) -> Callable[[], nn.Module]:
    """One of convslim's own networks."""
    return lambda: convslim.models.create(name)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, dict[str, list[float]]]] = {
    "resnet56-a": (cifar_resnet("resnet56_cifar"), "cifar10-resnet-akamaster/resnet56-4bfd9763", AKAMASTER),
    "resnet56-b": (cifar_resnet("resnet56_cifar_b"), "cifar10-models-chenyaofo/cifar10_resnet56-187c023a", CHENYAOFO),
    "resnet20-a": (cifar_resnet("resnet20_cifar"), "cifar10-resnet-akamaster/resnet20-12fca82f", AKAMASTER),
    "shufflenet": (shufflenet, "cifar10-models-chenyaofo/cifar10_shufflenetv2_x0_5-1308b4e9", CHENYAOFO),
}


def l1_rows(
    model: nn.Module, images: Tensor, source: DataSource, budget: float
) -> Iterator[tuple[str, nn.Module, float]]:
    """The L1 norm, the same ratio in every group: cut, with BatchNorm re-estimated, and reconstructed."""
    started = time.process_time()
    graph = convslim.trace(model, images[:1])
    scores = convslim.score(graph, model, "l1")
    plan = convslim.allocate(graph, scores, {"macs": budget}, how="uniform", round_to=1)
    small = convslim.remove(model, plan, images[:1], graph=graph)
    cut = time.process_time() - started
    yield "L1 uniform, cut only", small, cut
    started = time.process_time()
    fresh = recalibrate(small, source.train, num_batches=len(images) // BATCH, batch_size=BATCH)
    yield "L1 uniform, BN re-estimated", fresh, cut + time.process_time() - started
    started = time.process_time()
    reconstruct_(small, model, plan, images.split(BATCH), graph=graph)
    yield "L1 uniform, reconstructed", small, cut + time.process_time() - started


def ours(model: nn.Module, images: Tensor, budget: float) -> tuple[str, nn.Module, float]:
    """Channels, widths and weights by reconstruction."""
    started = time.process_time()
    small = compress(model, images, {"macs": budget}, round_to=1).model
    return "**convslim.compress**", small, time.process_time() - started


def peers(model: nn.Module, source: DataSource, budget: float, taylor: bool) -> tuple[str, nn.Module, float]:
    """Torch-Pruning to the same MACs, with BatchNorm re-estimated."""
    import torch_pruning as tp

    name = f"Torch-Pruning {'Taylor, 256 labels' if taylor else 'L1'}, BN re-estimated"
    started = time.process_time()
    example = source.example_input()
    importance: Any = tp.importance.GroupTaylorImportance() if taylor else tp.importance.GroupMagnitudeImportance(p=1)
    small = copy.deepcopy(model)
    last = [module for module in small.modules() if isinstance(module, nn.Linear)][-1]
    pruner = tp.pruner.BasePruner(
        small, example, importance, global_pruning=True, pruning_ratio=0.9, iterative_steps=200, ignored_layers=[last]
    )
    total = tp.utils.count_ops_and_params(small, example)[0]
    while tp.utils.count_ops_and_params(small, example)[0] > budget * total:
        if taylor:
            inputs, labels = next(iter(source.train.batches(256, seed=0)))
            small.zero_grad()
            nn.functional.cross_entropy(small(inputs), labels).backward()
        pruner.step()
    small = recalibrate(small, source.train, num_batches=10, batch_size=BATCH)
    return name, small, time.process_time() - started


def rows(
    model: nn.Module, images: Tensor, source: DataSource, budget: float, methods: list[str]
) -> Iterator[tuple[str, nn.Module, float]]:
    """Method, network, processor seconds."""
    if "compress" in methods:
        yield ours(model, images, budget)
    if "l1" in methods:
        yield from l1_rows(model, images, source, budget)
    if "peers" in methods:
        for taylor in (False, True):
            yield peers(model, source, budget, taylor)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS, default="resnet56-a")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--images", type=int, default=2500)
    parser.add_argument("--methods", nargs="+", choices=("compress", "l1", "peers"), default=["compress", "l1"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    build, weights, normalization = NETWORKS[options.only]
    source = open_data("cifar10", **normalization)
    model = build().eval()
    convslim.load_weights(model, Path(os.environ["CONVSLIM_DATA"]) / f"{weights}.safetensors")
    batches = source.train.batches(BATCH, seed=0, limit=options.images)
    images = torch.cat([inputs for inputs, _ in batches])
    base = convslim.cost(model, source.example_input()).macs
    print(f"{options.only}: dense {evaluate(model, source.test).correct:,} of 10,000; {len(images)} images")
    print("| MACs asked | MACs left | method | correct of 10,000 | processor seconds |")
    print("| ---: | ---: | --- | ---: | ---: |")
    for budget in options.budgets:
        for name, small, seconds in rows(model, images, source, budget, options.methods):
            left = convslim.cost(small, source.example_input()).macs / base
            correct = evaluate(small, source.test).correct
            print(f"| {budget:.0%} | {left:.1%} | {name} | {correct:,} | {seconds:.0f} |", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"Peak memory of the process, data set included: {peak:,.0f} MiB.")


if __name__ == "__main__":
    main()
