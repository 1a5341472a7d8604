"""Time of one step of sparse training with relation modules against one without.

    python benchmarks/gfr.py                        # ResNet-20 and ResNet-56, batch 128, float32 and bfloat16
    python benchmarks/gfr.py --networks resnet20_cifar --steps 20

Both networks take turns, one step each, on one thread; times are the process's own processor time, so that other work
on the machine counts little. A step is zero_grad, forward, backward, penalty and optimizer on a batch in memory.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor

import convslim
from convslim.sparsity import Subgradient, attach_relations_, scale_strengths

EXAMPLE = (1, 3, 32, 32)


class Side:
    """One of the two networks with what its step needs."""

    def __init__(self, name: str, related: bool) -> None:
        torch.manual_seed(0)
        self.model = convslim.models.create(name)
        graph = convslim.trace(self.model, torch.zeros(EXAMPLE), ways=("class",))
        self.penalty = Subgradient(scale_strengths(graph, self.model, 1e-4))
        if related:
            attach_relations_(self.model, graph)
        self.model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parameters = dict(self.model.named_parameters())
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
        self.seconds: list[float] = []

    def step(self, images: Tensor, labels: Tensor, bf16: bool) -> None:
        """One step, timed."""
        started = time.process_time()
        self.optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            scores = self.model(images)
        F.cross_entropy(scores.float(), labels).backward()
        self.penalty.apply_gradient_(self.parameters)
        self.optimizer.step()
        self.seconds.append(time.process_time() - started)


def measured(name: str, bf16: bool, batch: int, steps: int, warmup: int = 3) -> tuple[float, float]:
    """Median seconds of a step without and with the modules."""
    images = torch.randn(batch, *EXAMPLE[1:]).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,))
    sides = [Side(name, related) for related in (False, True)]
    for _ in range(steps + warmup):
        for side in sides:
            side.step(images, labels, bf16)
    plain, related = (statistics.median(side.seconds[warmup:]) for side in sides)
    return plain, related


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["resnet20_cifar", "resnet56_cifar"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | precision | ms without | ms with | ratio |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name in options.networks:
        for precision in ("float32", "bfloat16"):
            plain, related = measured(name, precision == "bfloat16", options.batch, options.steps)
            ratio = related / plain
            print(f"| `{name}` | {precision} | {1e3 * plain:.0f} | {1e3 * related:.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
