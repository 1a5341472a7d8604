"""The channel engine against Torch-Pruning, side by side: from a built network to a network of half the channels.

Both do the same work in the same process, one after the other: find the coupled channels, score them by the L1 norm,
remove half of the channels of every group. convslim's time includes the proof that the result equals the masked
original; Torch-Pruning proves nothing. Run it from the root of the repository:

    python benchmarks/engine.py                          # the table of benchmarks/README.md
    python benchmarks/engine.py --only resnet50 --rounds 5
    python benchmarks/engine.py --networks timm:regnetx_002:224
"""

from __future__ import annotations

import argparse
import copy
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from statistics import geometric_mean, median
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import convslim

NETWORKS = (
    "torchvision:resnet50:224",
    "torchvision:resnet152:224",
    "torchvision:resnext50_32x4d:224",
    "torchvision:wide_resnet50_2:224",
    "torchvision:densenet121:224",
    "torchvision:densenet201:224",
    "torchvision:mobilenet_v2:224",
    "torchvision:mobilenet_v3_large:224",
    "torchvision:efficientnet_b0:224",
    "torchvision:efficientnet_v2_s:224",
    "torchvision:mnasnet1_0:224",
    "torchvision:regnet_y_8gf:224",
    "torchvision:vgg11_bn:224",
    "torchvision:squeezenet1_1:224",
    "torchvision:googlenet:224",
    "torchvision:inception_v3:299",
    "torchvision:convnext_tiny:224",
    "timm:inception_resnet_v2:299",
    "timm:hrnet_w18:224",
    "timm:dla34:224",
)
RATIO = 0.5
T = TypeVar("T")
Seconds = TypeVar("Seconds", "Ours", "Peers")


@dataclass(frozen=True)
class Ours:
    """Seconds of convslim's steps, and what came out."""

    trace: float
    score: float
    allocate: float
    remove: float
    total: float
    macs: float
    error: float


@dataclass(frozen=True)
class Peers:
    """Seconds of Torch-Pruning's steps, and the MACs that are left."""

    build: float
    step: float
    total: float
    macs: float


@dataclass(frozen=True)
class Row:
    """Medians of one network; `theirs` is a sentence where Torch-Pruning fails."""

    network: str
    forward: float
    ours: Ours
    theirs: Peers | str


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Result and seconds."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def build(spec: str) -> nn.Module:
    """Random weights, the same ones every time, with BatchNorm statistics that are not trivial."""
    torch.manual_seed(0)
    options = {"init_weights": False, "transform_input": False} if "inception_v3" in spec else {}
    options |= {"init_weights": False} if "googlenet" in spec else {}
    model = convslim.models.create(spec, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.1)
    return model.eval()


@torch.no_grad()
def forward_seconds(model: nn.Module, example: Tensor) -> float:
    """Median of five passes after two to warm up."""
    seconds = [timed(lambda: model(example))[1] for _ in range(7)]
    return median(seconds[2:])


def run_convslim(model: nn.Module, example: Tensor, macs: int) -> Ours:
    """Trace, score, allocate, remove with proof."""
    graph, trace = timed(lambda: convslim.trace(model, example))
    scores, score = timed(lambda: convslim.score(graph, model, "l1"))
    plan, allocate = timed(
        lambda: convslim.allocate(graph, scores, {}, how="per-group", ratios={"*": RATIO}, round_to=1)
    )
    small, remove = timed(lambda: convslim.remove(model, plan, example, graph=graph))
    proof = convslim.verify(model, small, plan, example, graph=graph)
    left = convslim.cost(small, example).macs / macs
    total = trace + score + allocate + remove
    return Ours(trace, score, allocate, remove, total, left, proof.relative_error)


def run_torch_pruning(model: nn.Module, example: Tensor, macs: int) -> Peers:
    """Build the dependency graph, then one pruning step; works on a copy, because it edits the network."""
    import torch_pruning as tp

    model = copy.deepcopy(model)
    last = [module for name, module in model.named_modules() if is_last(name, module)]
    pruner, build_seconds = timed(
        lambda: tp.pruner.BasePruner(
            model, example, tp.importance.MagnitudeImportance(p=1), pruning_ratio=RATIO, ignored_layers=last
        )
    )
    _, step = timed(pruner.step)
    return Peers(build_seconds, step, build_seconds + step, convslim.cost(model.eval(), example).macs / macs)


def is_last(name: str, module: nn.Module) -> bool:
    """The classifiers, which Torch-Pruning must be told to leave: their outputs are the network's."""
    return isinstance(module, nn.Linear) and module.out_features == 1000


def medians(runs: Iterable[Seconds]) -> Seconds:
    """Median of every field."""
    runs = list(runs)
    kind = type(runs[0])
    return kind(**{field.name: median(getattr(run, field.name) for run in runs) for field in fields(kind)})


def measure(spec: str, rounds: int) -> Row:
    """Both tools in turn, `rounds` times after one round to warm up."""
    name, _, size = spec.rpartition(":")
    model, example = build(name), torch.randn(1, 3, int(size), int(size))
    macs = convslim.cost(model, example).macs
    ours, theirs, error = [], [], ""
    for _ in range(rounds + 1):
        ours.append(run_convslim(model, example, macs))
        if not error:
            try:
                theirs.append(run_torch_pruning(model, example, macs))
            except Exception as failure:  # whatever the peer dies of is its result
                error = f"fails: {type(failure).__name__}"
    forward = forward_seconds(model, example)
    return Row(spec, forward, medians(ours[1:]), error or medians(theirs[1:]))


def line(row: Row) -> str:
    """One row of the table."""
    name, _, size = row.network.partition(":")[2].rpartition(":")
    ours, theirs = row.ours, row.theirs
    cells = [f"{name} @{size}", f"{row.forward:.3f}", f"{ours.trace:.2f} ({ours.trace / row.forward:.1f}×)"]
    cells += [f"{ours.score:.2f}", f"{ours.allocate:.2f}", f"{ours.remove:.2f}", f"**{ours.total:.2f}**"]
    if isinstance(theirs, str):
        cells += [theirs, "–", "–", f"{ours.macs:.3f} / –"]
    else:
        cells += [f"{theirs.build:.2f} + {theirs.step:.2f}", f"{theirs.total:.2f}"]
        cells += [f"**{theirs.total / ours.total:.1f}×**", f"{ours.macs:.3f} / {theirs.macs:.3f}"]
    return "| " + " | ".join([*cells, f"{ours.error:.0e}"]) + " |"


HEAD = (
    "| network | forward | trace (× forward) | score | allocate | remove and prove | convslim | "
    "Torch-Pruning build + step | Torch-Pruning | convslim faster by | MACs left | masked ≡ removed |\n"
    "| --- " + "| ---: " * 11 + "|"
)


def summary(rows: list[Row]) -> str:
    """How the two compare over all networks that Torch-Pruning finishes."""
    ratios = [row.theirs.total / row.ours.total for row in rows if isinstance(row.theirs, Peers)]
    traces = [row.ours.trace / row.forward for row in rows]
    return (
        f"Geometric mean over {len(ratios)} networks: convslim {geometric_mean(ratios):.2f} times as fast, ahead on "
        f"{sum(ratio > 1 for ratio in ratios)}. Trace: {min(traces):.1f} to {max(traces):.1f} forward passes."
    )


def setting(rounds: int) -> str:
    """What the numbers depend on."""
    packages: dict[str, Any] = {}
    for name in ("torch", "torchvision", "timm", "torch-pruning"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "missing"
    found = ", ".join(f"{name} {number}" for name, number in packages.items())
    return (
        f"Processor seconds, medians of {rounds} rounds after one to warm up, batch 1, float32, "
        f"{torch.get_num_threads()} thread(s), {platform.machine()}, Python {platform.python_version()}, {found}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time convslim's channel engine beside Torch-Pruning.")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="specifications with the input size")
    parser.add_argument("--only", default="", help="run the networks whose name contains this")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = [spec for spec in options.networks if options.only in spec]
    print(HEAD, flush=True)
    rows = []
    for spec in chosen:
        rows.append(measure(spec, options.rounds))
        print(line(rows[-1]), flush=True)
    print(f"\n{summary(rows)}")
    print(f"\n{setting(options.rounds)}")


if __name__ == "__main__":
    main()
