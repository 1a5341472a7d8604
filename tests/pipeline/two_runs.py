"""Run by torchrun in `test_two_processes.py`, and imported there: two recipes, carried out in a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from torch import nn

from convslim.pipeline import parse_recipe, run

TRAIN = {"epochs": 2, "batch_size": 64, "steps_per_epoch": 8, "threads": 1}
STEPS: dict[str, list[Any]] = {
    "trained": [
        {"train": {**TRAIN, "lr": 0.1, "augment": True}},
        {"prune": {"criterion": "l1", "budget": {"macs": 0.5}, "round_to": 1}},
        {"finetune": {**TRAIN, "lr": 0.05}},
    ],
    "given": [
        {"prune": {"criterion": "taylor", "budget": {"macs": 0.5}, "round_to": 1}},
        {"finetune": {**TRAIN, "lr": 0.05}},
        {"export": {"latency": None}},
    ],
}
"""`trained`: a network without BatchNorm is trained, then cut; `given`: one with BatchNorm is cut as it is."""


def network() -> nn.Module:
    """A small classifier of the digits, without BatchNorm."""
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, stride=2, padding=1)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), *head)


def main(out: Path) -> None:
    """Carry both out."""
    specs = {"trained": f"{Path(__file__).resolve()}:network", "given": "digits_cnn"}
    for name, steps in STEPS.items():
        head = {"name": name, "seed": 1, "threads": 1, "model": {"spec": specs[name]}, "data": {"spec": "digits"}}
        run(parse_recipe({**head, "steps": steps}), out / name, quiet=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
