"""Peak memory of a reconstruction at 224 × 224, with the activations bounded and without.

    python benchmarks/reconstruction_memory.py                # a few minutes of one core
    python benchmarks/reconstruction_memory.py --images 1000

MobileNetV2 of fresh weights, half of the channels of every group gone, smooth random images. Every bound has a process
of its own, since a process never forgets its peak. What was taken before the refit, the images among it, is left out.
The error is the median over the layers of what is left on held-out images after the refit, as a share of before.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

import convslim
from convslim.measure.machine import peak_memory
from convslim.surgery.reconstruction.footprint import MEMORY

UNBOUNDED = 2**60
MIB = 2**20


def measure(images: int, memory: int) -> None:
    """One row of the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = convslim.models.create("timm:mobilenetv2_100").eval()
    inputs = F.interpolate(torch.randn(images, 3, 14, 14), size=224, mode="bilinear")
    graph = convslim.trace(model, inputs[:1])
    plan = convslim.make_plan(graph, {group.name: range(group.num_channels // 2) for group in graph.prunable})
    small = convslim.remove(model, plan, inputs[:1], graph=graph)
    before, begin = peak_memory() or 0, time.process_time()
    done = convslim.reconstruct_(small, model, plan, inputs.split(20), graph=graph, memory=memory)
    seconds, taken = time.process_time() - begin, (peak_memory() or 0) - before
    error = statistics.median(layer.error_after / layer.error_before for layer in done.layers)
    fewest = min(layer.num_images for layer in done.layers)
    bound = "none" if memory == UNBOUNDED else f"{memory / MIB:,.0f} MiB"
    print(f"| {bound} | {taken / MIB:,.0f} MiB | {seconds:.0f} | {fewest} of {images} | {error:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--memory", type=int, help="measure this bound alone, in bytes")
    options = parser.parse_args()
    if options.memory is not None:
        measure(options.images, options.memory)
        return
    print("| bound | taken beyond network and images | processor s | images at the first layers | error left |")
    print("| --- | ---: | ---: | ---: | ---: |", flush=True)
    for memory in (MEMORY // 4, MEMORY, UNBOUNDED):
        command = [sys.executable, __file__, "--images", str(options.images), "--memory", str(memory)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
