"""What it costs to look at feature maps: ResNet-56 over CIFAR-10 images, streamed, beside maps that are stored.

One process, one thread, processor seconds. Run it from the root of the repository:

    export CONVSLIM_DATA=...          # holds cifar10/ and cifar10-resnet-akamaster/
    OMP_NUM_THREADS=1 python benchmarks/activations.py
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import convslim
from convslim.channels.graph import ChannelGraph
from convslim.criteria.activations import ActivationCriterion
from convslim.criteria.activeness import activeness
from convslim.criteria.observing import observe
from convslim.criteria.relations import CHUNK
from convslim.data import open_data

WEIGHTS = "cifar10-resnet-akamaster/resnet56-4bfd9763"
NORMALIZATION = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@dataclass(frozen=True, eq=False)
class Maps:
    """All maps of a place, ``(N, C, HW)``: what streaming does without."""

    parts: tuple[Tensor, ...]

    def merge(self, other: Maps) -> Maps:
        """Those of both."""
        return Maps(self.parts + other.parts)


def stored(graph: ChannelGraph, model: nn.Module, batches: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Activeness and difference of every place from maps that are kept in memory, by ``torch.cdist``."""
    keeping = ActivationCriterion(
        "stored", lambda maps: Maps((maps.reshape(*maps.shape[:2], -1).clone(),)), lambda *_: None, ""
    )
    seen = observe(graph, model, keeping, batches)
    found = []
    for places in seen.values():
        for place in places:
            maps = torch.cat(place.parts)
            distance = torch.cdist(maps, maps).double().mean(0) / maps.shape[2] ** 0.5
            found.append((maps.std(-1, correction=0).double().mean(0), distance))
    return found


def streamed(graph: ChannelGraph, model: nn.Module, batches: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The same in convslim's one pass."""
    seen = observe(graph, model, activeness(), batches)
    return [relations.finish() for places in seen.values() for relations in places]


def shapes(graph: ChannelGraph, model: nn.Module, image: Tensor) -> list[tuple[int, int]]:
    """Channels and positions of every place."""
    found: list[tuple[int, int]] = []

    def look(maps: Tensor) -> Maps:
        found.append((maps.shape[1], maps[0, 0].numel()))
        return Maps(())

    observe(graph, model, ActivationCriterion("shapes", look, lambda *_: None, ""), [image])
    return found


def products(sizes: Sequence[tuple[int, int]], images: int) -> float:
    """Seconds of the matrix products alone, in float64, for all places and images."""
    total = 0.0
    for channels, positions in sizes:
        count = min(max(CHUNK // max(channels * positions, channels**2), 1), images)
        values = torch.randn(count, channels, positions, dtype=torch.float64)
        total += seconds(lambda values=values: values @ values.mT) * images / count
    return total


def seconds(run: Callable[[], object]) -> float:
    """Processor seconds of one run."""
    started = time.process_time()
    run()
    return time.process_time() - started


def peak() -> float:
    """Largest resident memory of the process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forward(model: nn.Module, batches: Sequence[Tensor]) -> None:
    """A plain pass."""
    with torch.no_grad():
        for batch in batches:
            model(batch)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    source = open_data("cifar10", **NORMALIZATION)
    batches = [inputs for inputs, _ in source.train.batches(options.batch, seed=0, limit=options.images)]
    model = convslim.models.create("resnet56_cifar").eval()
    convslim.load_weights(model, Path(os.environ["CONVSLIM_DATA"]) / f"{WEIGHTS}.safetensors")
    graph = convslim.trace(model, batches[0][:1])
    forward(model, batches[:1])
    plain, base = seconds(lambda: forward(model, batches)), peak()
    results: dict[str, list[tuple[Tensor, Tensor]]] = {}
    print("| | processor seconds | × forward | memory over that of the forward pass, MiB |")
    print("| --- | ---: | ---: | ---: |")
    print(f"| forward pass of {options.images} images | {plain:.1f} | 1.00 | – |")
    for name, run in (("streamed", streamed), ("stored, torch.cdist", stored)):
        spent = seconds(lambda name=name, run=run: results.update({name: run(graph, model, batches)}))
        print(f"| {name} | {spent:.1f} | {spent / plain:.2f} | {peak() - base:.1f} |")
    sizes = shapes(graph, model, batches[0][:1])
    floor = products(sizes, options.images)
    print(f"| the matrix products alone | {floor:.1f} | {floor / plain:.2f} | – |")
    error = max(
        float((ours - theirs).abs().max() / theirs.max())
        for (_, ours), (_, theirs) in zip(results["streamed"], results["stored, torch.cdist"], strict=True)
    )
    print(f"\n{len(sizes)} places; the differences agree to {error:.0e} of the largest.")


if __name__ == "__main__":
    main()
