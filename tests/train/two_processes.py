"""Run by torchrun in `test_distributed.py`: train a small network and let the first process save what came out."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from convslim.data import open_data
from convslim.distill import Guidance, guide
from convslim.train import Metrics, TrainConfig, evaluate, fit

CONFIG = TrainConfig(
    epochs=2, batch_size=64, lr=0.05, steps_per_epoch=8, seed=3, threads=1, augment=True, clip_norm=5.0
)
GUIDED = TrainConfig.model_validate({**CONFIG.model_dump(), "distill": [{"kind": "hint"}, {"kind": "logits"}]})


def guidance(student: nn.Module) -> Guidance:
    """Hints from another network of the same kind, whose adapters are trained along."""
    teacher = network(norm=False)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.5)
    assert GUIDED.distill is not None
    return guide(student, teacher, open_data("digits").example_input(), GUIDED.distill)


def network(*, norm: bool) -> nn.Module:
    """A small classifier of the digits, with or without BatchNorm."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def main(out: Path) -> None:
    """Train both networks; every process saves its weights, so that they can be compared."""
    rank = int(os.environ["RANK"])
    source = open_data("digits")
    facts = {}
    for norm in (False, True):
        result = fit(network(norm=norm), source, CONFIG, out=out / f"fit-{norm}", quiet=True)
        save_file(result.model.state_dict(), out / f"norm-{norm}-rank-{rank}.safetensors")
        metrics = evaluate(result.model, source.test, batch_size=50)
        assert isinstance(metrics, Metrics)
        assert metrics.predictions is not None
        facts[str(norm)] = {
            "correct": metrics.correct,
            "answers": metrics.predictions.tolist(),
            "train_loss": result.history[-1].train_loss,
        }
    student = network(norm=False)
    guided = fit(student, source, GUIDED, guidance=guidance(student), out=out / "guided", quiet=True)
    save_file(guided.model.state_dict(), out / f"guided-rank-{rank}.safetensors")
    (out / f"facts-{rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
