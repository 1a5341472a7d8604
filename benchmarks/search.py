"""Candidates of a search per minute: on slices of one network's weights, by removal, and in a Torch-Pruning loop.

All three judge a candidate in the same way on the same images: BatchNorm statistics are averaged over the same
calibration batches, then the same held-out training images are counted. Candidates are random ratios, one for every
convolution, scored by the L1 norm. Removal copies the network, removes with convslim and proves; Torch-Pruning copies
the network, builds its graph and prunes. Neither of the two changes precision or memory layout. Run it from the root of
the repository:

    export CONVSLIM_DATA=...          # holds cifar10/ and cifar10-resnet-akamaster/
    python benchmarks/search.py                                # the rows of benchmarks/README.md
    python benchmarks/search.py --networks resnet20_cifar --candidates 30
    python benchmarks/search.py --search 5      # what 5 generations of a genetic search save by kept maps
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch_pruning as tp
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import convslim
from convslim.channels.graph import ChannelGraph
from convslim.criteria.scores import Scores
from convslim.data import open_data
from convslim.search.begin import begin
from convslim.search.evaluation import Evaluation, Evaluator
from convslim.search.evaluation_choice import build_evaluator
from convslim.search.evaluation_images import JudgingImages
from convslim.search.evaluation_views import ViewEvaluator
from convslim.search.settings import SearchSettings
from convslim.search.space import search_space
from convslim.surgery.plan import PruningPlan

WEIGHTS = {"resnet20_cifar": "resnet20-12fca82f", "resnet56_cifar": "resnet56-4bfd9763"}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
MOST = 0.5
"""The largest share of a layer's channels that a candidate loses; the smallest is none."""


@dataclass(frozen=True)
class Subject:
    """A trained network and the images that candidates are judged on."""

    model: nn.Module
    graph: ChannelGraph
    scores: Scores
    example: Tensor
    images: JudgingImages


def subject(name: str, batches: int, num_images: int) -> Subject:
    """A pretrained network, and training images that count beside others for the statistics."""
    folder = Path(os.environ["CONVSLIM_DATA"])
    model = convslim.models.create(name)
    convslim.load_weights(model, next((folder / "cifar10-resnet-akamaster").glob(f"{WEIGHTS[name]}*")))
    source = open_data(f"cifar10:{folder}", holdout=0.1, mean=MEAN, std=STD)
    assert source.holdout is not None
    calibration = [images for images, _ in source.train.batches(128, seed=0, limit=batches * 128)]
    found = list(source.holdout.batches(128, limit=num_images))
    images, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    example = source.example_input()
    graph = convslim.trace(model.eval(), example)
    scores = convslim.score(graph, model, "l1")
    return Subject(model, graph, scores, example, JudgingImages(calibration, images, labels))


def candidate(subject: Subject, seed: int) -> PruningPlan:
    """A random ratio for every group; the channels of least norm go."""
    rng = np.random.default_rng(seed)
    kept = {}
    for group in subject.graph.prunable:
        count = max(round(group.num_channels * (1 - rng.uniform(0, MOST))), 1)
        kept[group.name] = np.sort(np.argsort(-subject.scores.values[group.name], kind="stable")[:count])
    return convslim.make_plan(subject.graph, kept)


@torch.no_grad()
def judged(small: nn.Module, images: JudgingImages) -> int:
    """Correct images, after fresh statistics; what a loop of one's own does."""
    small.eval()
    for norm in (module for module in small.modules() if isinstance(module, _BatchNorm)):
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True
    for batch in images.calibration:
        small(batch)
    small.eval()
    return sum(int((small(batch).argmax(1) == labels).sum()) for batch, labels in images.batches())


def by_slices(judge: Evaluator, plan: PruningPlan) -> int:
    """What a search does."""
    found = judge(plan).correct
    assert found is not None, "labels are counted"
    return found


def by_removal(subject: Subject, plan: PruningPlan) -> int:
    """Copy, remove with proof, judge."""
    small = convslim.remove(copy.deepcopy(subject.model), plan, subject.example, graph=subject.graph)
    return judged(small, subject.images)


def by_torch_pruning(subject: Subject, plan: PruningPlan) -> int:
    """Copy, build the graph, prune the same share of every layer's filters, judge."""
    small = copy.deepcopy(subject.model)
    ratios = {
        small.get_submodule(producer): 1 - len(plan.kept[group.name]) / group.num_channels
        for group in subject.graph.prunable
        for producer in group.producers
    }
    last = [module for module in small.modules() if isinstance(module, nn.Linear)]
    pruner = tp.pruner.BasePruner(
        small,
        subject.example,
        tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.0,
        pruning_ratio_dict=ratios,
        ignored_layers=last,
    )
    pruner.step()
    return judged(small, subject.images)


def seconds(work: Callable[[PruningPlan], int], plan: PruningPlan) -> tuple[int, float]:
    """Correct images of a candidate, and processor seconds."""
    start = time.process_time()
    result = work(plan)
    return result, time.process_time() - start


def measure(name: str, options: argparse.Namespace) -> str:
    """One row of the table."""
    chosen = subject(name, options.batches, options.images)
    start = time.process_time()
    judge = build_evaluator(chosen.model, chosen.graph, chosen.example, chosen.images)
    build = time.process_time() - start
    plans = [candidate(chosen, seed) for seed in range(options.candidates)]
    judge(plans[0])  # to warm up
    ours, removal, peer = [], [], []
    for number, plan in enumerate(plans):
        ours.append(seconds(partial(by_slices, judge), plan))
        removal.append(seconds(lambda plan: by_removal(chosen, plan), plan))
        if number < options.peer:
            peer.append(seconds(lambda plan: by_torch_pruning(chosen, plan), plan))
    tau = kendalltau([correct for correct, _ in ours], [correct for correct, _ in removal]).statistic
    apart = max(abs(left - right) for (left, _), (right, _) in zip(ours, removal, strict=True))
    times = [median(spent for _, spent in runs) for runs in (ours, removal, peer)]
    best = [max(correct for correct, _ in ours), min(correct for correct, _ in ours)]
    cells = [name, judge.precision, f"{build:.1f}", *(f"{60 / spent:.1f}" for spent in times)]
    cells += [f"{times[1] / times[0]:.1f}×", f"**{times[2] / times[0]:.1f}×**", f"{tau:.3f}", f"{apart}"]
    return "| " + " | ".join([*cells, f"{best[1]} to {best[0]}"]) + " |"


@dataclass
class Timed:
    """An evaluator that notes what it was asked, and its processor seconds."""

    judge: ViewEvaluator
    asked: list[tuple[PruningPlan, float | None, Evaluation, float]] = field(default_factory=list)

    def __call__(self, plan: PruningPlan, *, hopeless_below: float | None = None) -> Evaluation:
        start = time.process_time()
        found = self.judge(plan, hopeless_below=hopeless_below)
        self.asked.append((plan, hopeless_below, found, time.process_time() - start))
        return found


def searched(name: str, options: argparse.Namespace) -> str:
    """A genetic search at half of the MACs, and its candidates once more by an evaluator that keeps no activations."""
    chosen = subject(name, options.batches, options.images)
    space = search_space(chosen.graph, chosen.scores, {"macs": 0.5})
    keeping, plain = (
        Timed(build_evaluator(chosen.model, chosen.graph, chosen.example, chosen.images, keep=keep))  # type: ignore[arg-type]
        for keep in (True, False)
    )
    with TemporaryDirectory() as folder:
        settings = SearchSettings(population=options.candidates, generations=options.search)
        begin(space, keeping, settings, Path(folder) / "search.journal").work()
    for plan, below, _, _ in keeping.asked:
        plain(plan, hopeless_below=below)
    pairs = list(zip(keeping.asked, plain.asked, strict=True))
    same = sum((mine[2].correct, mine[2].total) == (other[2].correct, other[2].total) for mine, other in pairs)
    spent = [sum(row[3] for row in rows.asked) for rows in (keeping, plain)]
    later = [sum(row[3] for row in rows.asked[options.candidates :]) for rows in (keeping, plain)]
    cells = [name, str(len(pairs)), f"{spent[0]:.1f}", f"{spent[1]:.1f}", f"**{spent[1] / spent[0]:.2f}×**"]
    return "| " + " | ".join([*cells, f"{later[1] / later[0]:.2f}×", f"{same} of {len(pairs)}"]) + " |"


SEARCHED = (
    "| network | candidates | maps kept, s | not kept, s | faster | behind the first generation | counted alike |\n"
    "| --- " + "| ---: " * 6 + "|"
)


HEAD = (
    "| network | precision | built once, s | on slices | `remove` | Torch-Pruning | faster than `remove` | faster than "
    "Torch-Pruning | Kendall τ to `remove` | most images apart | right |\n| --- | --- " + "| ---: " * 9 + "|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count candidates per minute.")
    parser.add_argument("--networks", nargs="+", default=list(WEIGHTS))
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--peer", type=int, default=5, help="candidates of the Torch-Pruning loop")
    parser.add_argument("--batches", type=int, default=4, help="of 128 images, for the statistics")
    parser.add_argument("--images", type=int, default=5000, help="that count")
    parser.add_argument("--search", type=int, help="generations of `--candidates` each, instead of the table")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.search:
        print("\n".join([SEARCHED, *(searched(name, options) for name in options.networks)]))
        return
    print(HEAD, flush=True)
    for name in options.networks:
        print(measure(name, options), flush=True)
    print(
        f"\nCandidates per minute of processor time, medians of {options.candidates} candidates ({options.peer} of "
        f"Torch-Pruning {tp.__version__}), {options.batches} batches of 128 images for the statistics, "
        f"{options.images:,} images that count, {options.threads} thread(s), {platform.machine()}, torch "
        f"{torch.__version__}."
    )


if __name__ == "__main__":
    main()
