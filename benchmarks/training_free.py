"""Accuracy of smaller networks without a label and without training, on all CIFAR-10 test images.

The L1 norm with the same ratio in every group: cut only, BatchNorm re-estimated, reconstructed; channels and widths
that cost least error, reconstructed (`convslim.compress`); beside it Torch-Pruning's L1 and Taylor (which looks at
labels), BatchNorm re-estimated. Every method gets 1,000 training images, and MACs are those of `convslim.cost`. Run it
from the root of the repository:

    export CONVSLIM_DATA=...          # holds cifar10/, cifar10-resnet-akamaster/ and cifar10-models-chenyaofo/
    python benchmarks/training_free.py run build/training_free.jsonl             # hours; goes on where it stopped
    python benchmarks/training_free.py run build/training_free.jsonl --networks resnet20-b --budgets 0.6 0.5
    python benchmarks/training_free.py table build/training_free.jsonl           # the tables of benchmarks/README.md

The same fine-tuning from both starting points, the L1 cut with fresh BatchNorm statistics and the reconstructed one:

    python benchmarks/training_free.py tune build/tuned.jsonl --networks resnet20-a --budgets 0.5

Seconds are processor seconds of one thread, without loading and evaluating; memory is the peak of the process while a
method ran, the data set included.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import convslim
from convslim.compress import HELD_OUT, compress
from convslim.data import DataSource, open_data
from convslim.surgery.reconstruction import reconstruct_
from convslim.train import TrainConfig, evaluate, fit, recalibrate

AKAMASTER = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CHENYAOFO = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}
COMMAND = "python benchmarks/training_free.py"
BUDGETS = (0.7, 0.6, 0.5, 0.47, 0.4, 0.33)
BATCH = 100
NUM_IMAGES = 1000
STEPS = 100
"""Steps of Torch-Pruning on the way to a tenth of all channels."""


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
    "resnet20-b": (cifar_resnet("resnet20_cifar_b"), "cifar10-models-chenyaofo/cifar10_resnet20-4118986f", CHENYAOFO),
    "shufflenet": (shufflenet, "cifar10-models-chenyaofo/cifar10_shufflenetv2_x0_5-1308b4e9", CHENYAOFO),
}


@dataclass(frozen=True)
class Subject:
    """A trained network, what it was trained on, and images to fit."""

    model: nn.Module
    source: DataSource
    images: Tensor


def l1_cut(subject: Subject, budget: float) -> tuple[nn.Module, Any, Any]:
    """Without the channels of least L1 norm, the same ratio in every group; its plan and the original's graph."""
    graph = convslim.trace(subject.model, subject.images[:1])
    scores = convslim.score(graph, subject.model, "l1")
    plan = convslim.allocate(graph, scores, {"macs": budget}, how="uniform", round_to=1)
    return convslim.remove(subject.model, plan, subject.images[:1], graph=graph), plan, graph


def cut_only(subject: Subject, budget: float) -> nn.Module:
    """The L1 norm, and nothing after the cut."""
    return l1_cut(subject, budget)[0]


def re_estimated(subject: Subject, budget: float) -> nn.Module:
    """The L1 norm, and fresh statistics of the BatchNorms."""
    small = l1_cut(subject, budget)[0]
    return recalibrate(small, subject.source.train, num_batches=NUM_IMAGES // BATCH, batch_size=BATCH)


def reconstructed(subject: Subject, budget: float) -> nn.Module:
    """The L1 norm, and a refit of every layer."""
    small, plan, graph = l1_cut(subject, budget)
    reconstruct_(small, subject.model, plan, subject.images[:NUM_IMAGES].split(BATCH), graph=graph)
    return small


def compressed(subject: Subject, budget: float) -> nn.Module:
    """Channels, widths and weights by reconstruction; a fifth more images, which it compares on."""
    return compress(subject.model, subject.images, {"macs": budget}, round_to=1).model


def torch_pruning(subject: Subject, budget: float, *, taylor: bool) -> nn.Module:
    """Torch-Pruning in small steps to the budget, with BatchNorm re-estimated; Taylor sees 128 labels before each."""
    import torch_pruning as tp

    example = subject.source.example_input()
    small = copy.deepcopy(subject.model)
    pruner = tp.pruner.BasePruner(
        small,
        example,
        tp.importance.GroupTaylorImportance() if taylor else tp.importance.GroupMagnitudeImportance(p=1),
        global_pruning=True,
        pruning_ratio=0.9,
        iterative_steps=STEPS,
        ignored_layers=[[module for module in small.modules() if isinstance(module, nn.Linear)][-1]],
    )
    inputs, labels = next(iter(subject.source.train.batches(128, seed=0)))
    limit = budget * convslim.cost(subject.model, example).macs
    while convslim.cost(small, example).macs > limit:
        if taylor:
            small.zero_grad()
            nn.functional.cross_entropy(small(inputs), labels).backward()
        pruner.step()
    return recalibrate(small, subject.source.train, num_batches=NUM_IMAGES // BATCH, batch_size=BATCH)


METHODS: dict[str, tuple[str, Callable[[Subject, float], nn.Module]]] = {
    "compress": ("**`convslim.compress`**", compressed),
    "cut": ("L1, cut only", cut_only),
    "bn": ("L1, BN re-estimated", re_estimated),
    "refit": ("L1, reconstructed", reconstructed),
    "tp-l1": ("Torch-Pruning L1, BN re-estimated", lambda *each: torch_pruning(*each, taylor=False)),
    "tp-taylor": ("Torch-Pruning Taylor, BN re-estimated", lambda *each: torch_pruning(*each, taylor=True)),
}


def subject_of(name: str) -> Subject:
    """Load a network and its images."""
    build, weights, normalization = NETWORKS[name]
    source = open_data("cifar10", **normalization)
    model = build().eval()
    convslim.load_weights(model, Path(os.environ["CONVSLIM_DATA"]) / f"{weights}.safetensors")
    batches = source.train.batches(BATCH, seed=0, limit=NUM_IMAGES * HELD_OUT // (HELD_OUT - 1))
    return Subject(model, source, torch.cat([inputs for inputs, _ in batches]))


def measured(subject: Subject, method: str, budget: float) -> dict[str, Any]:
    """One row: what came out, and what it took."""
    forget_peak()
    started = time.process_time()
    try:
        small = METHODS[method][1](subject, budget)
    except Exception as failure:
        if not method.startswith("tp-"):
            raise
        return {"failure": type(failure).__name__}  # whatever the peer dies of is its result
    seconds, memory = time.process_time() - started, peak_mib()
    example = subject.source.example_input()
    macs = [convslim.cost(model, example).macs for model in (subject.model, small)]
    correct = evaluate(small, subject.source.test, channels_last=True).correct
    return {"macs": macs, "correct": correct, "seconds": round(seconds, 1), "peak_mib": memory}


def forget_peak() -> None:
    """The peak of the process's memory counts from here (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> int:
    """Peak memory since the last call of `forget_peak`."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of earlier runs."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(options: argparse.Namespace) -> None:
    """Measure the rows that are missing."""
    path: Path = options.rows
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["network"], row["method"], row["budget"]) for row in read(path)}
    for network in options.networks:
        wanted = [(method, budget) for budget in options.budgets for method in options.methods]
        wanted = [each for each in wanted if (network, *each) not in done]
        subject = subject_of(network) if wanted else None
        for method, budget in wanted:
            assert subject is not None
            command = f"{COMMAND} run {path} --networks {network} --budgets {budget} --methods {method}"
            row = {"network": network, "method": method, "budget": budget, **measured(subject, method, budget)}
            with path.open("a") as file:
                file.write(json.dumps(row | {"command": command}) + "\n")


def tune(options: argparse.Namespace) -> None:
    """The same brief training from the L1 cut with fresh statistics and from the same cut reconstructed."""
    path: Path = options.rows
    starts, budget = ("bn", "refit"), options.budgets[0]
    done = {(row["network"], row["method"], row["budget"], row["steps"], row["seed"]) for row in read(path)}
    for network in options.networks:
        subject = subject_of(network)
        cut = {start: METHODS[start][1](subject, budget) for start in starts}
        before = {name: evaluate(each, subject.source.test, channels_last=True).correct for name, each in cut.items()}
        for steps, seed, start in itertools.product(options.steps, options.seeds, starts):
            if (network, start, budget, steps, seed) in done:
                continue
            config = TrainConfig(epochs=1, steps_per_epoch=steps, lr=options.lr, warmup_epochs=0.1, seed=seed)
            began = time.process_time()
            tuned = fit(cut[start], subject.source, config, quiet=True).history[-1].test_correct
            row = {"network": network, "method": start, "budget": budget, "steps": steps, "seed": seed}
            row |= {"seconds": round(time.process_time() - began, 1), "correct": [before[start], tuned]}
            row["command"] = (
                f"{COMMAND} tune {path} --networks {network} --budgets {budget} --steps {steps} --seeds {seed} "
                f"--lr {options.lr}"
            )
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def table(options: argparse.Namespace) -> None:
    """Print one table for every network."""
    found = {(row["network"], row["method"], row["budget"]): row for row in read(options.rows)}
    for network in NETWORKS:
        budgets = [budget for budget in BUDGETS if any(key[0] == network and key[2] == budget for key in found)]
        if budgets:
            print(f"\n| {network} | " + " | ".join(f"{budget:.0%}" for budget in budgets) + " |")
            print("| --- |" + " ---: |" * len(budgets))
        for method, (title, _) in METHODS.items():
            cells = [cell(found.get((network, method, budget))) for budget in budgets]
            if any(cells):
                print(f"| {title} | " + " | ".join(cells) + " |")


def cell(row: dict[str, Any] | None) -> str:
    """Correct images, MACs left, seconds and memory."""
    if row is None:
        return ""
    if "failure" in row:
        return f"fails: {row['failure']}"
    left = row["macs"][1] / row["macs"][0]
    return f"{row['correct']:,} ({left:.1%}; {row['seconds']:.0f} s, {row['peak_mib']:,} MiB)"


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "tune", "table"))
    parser.add_argument("rows", type=Path)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 400], help="of 128 images, for tune")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="for tune")
    parser.add_argument("--lr", type=float, default=0.02, help="peak rate, for tune")
    options = parser.parse_args()
    torch.set_num_threads(1)
    {"run": run, "tune": tune, "table": table}[options.what](options)


if __name__ == "__main__":
    main()
