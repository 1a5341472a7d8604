"""Methods and criteria beside each other on CIFAR-10: the same network, budgets, fine-tuning and seeds.

    export CONVSLIM_DATA=...          # holds cifar10/ and cifar10-resnet-akamaster/
    python benchmarks/methods.py run build/methods.jsonl                             # everything: hours
    python benchmarks/methods.py run build/methods.jsonl --methods gfr random --budgets 0.5 --seeds 0
    python benchmarks/methods.py table build/methods.jsonl

Every run is a folder beside the file, and a line in it when it is finished; what has a line is not done again, and
what was interrupted goes on where it stopped. Methods with sparse training do `--sparse-epochs` of it before the cut;
self-selection trains for `--epochs` more than its selection takes. All are tuned for `--epochs`. `slim` is `bn_scale`
behind sparse training.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convslim.pipeline import Recipe, parse_recipe, run
from convslim.report import RunRecord, StepRecord
from measured_lines import known, spread

SPARSE = ("gfr", "slim")
METHODS = ("gfr", "slim", "activeness", "self-selection", "bn_scale", "l1", "taylor", "random")
NETWORKS = {
    "resnet20_cifar": "resnet20-12fca82f",
    "resnet56_cifar": "resnet56-4bfd9763",
}
HEADINGS = ("MACs asked", "method", "MACs left", "right after the cut", "BN re-estimated", "fine-tuned", "runs")


def recipe(method: str, budget: float, seed: int, options: argparse.Namespace) -> Recipe:
    """The recipe of one run."""
    training: dict[str, Any] = {"precision": "bf16", "threads": 1, "evaluate_every": 1000}
    if options.steps is not None:
        training["steps_per_epoch"] = options.steps
    tuning = {**training, "epochs": options.epochs, "lr": 0.05, "warmup_epochs": min(1, options.epochs / 4)}
    weights = f"${{CONVSLIM_DATA}}/cifar10-resnet-akamaster/{NETWORKS[options.network]}.safetensors"
    return parse_recipe(
        {
            "name": f"{options.network}-{method}-{budget}-{seed}",
            "seed": seed,
            "threads": 1,
            "model": {"spec": options.network, "weights": weights},
            "data": {
                "spec": "cifar10",
                "options": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "holdout": 5000},
            },
            "evaluation": {"limit": options.limit},
            "steps": list(steps(method, budget, training, tuning, options)),
        }
    )


def steps(
    method: str, budget: float, training: dict[str, Any], tuning: dict[str, Any], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """What a method does. Scores look at images that are held out of the training set, never at test images."""
    cut = {"budget": {"macs": budget}, "round_to": 8, "ways": ["class"]}
    if method == "self-selection":
        selecting = {**tuning, "epochs": options.epochs + options.sparse_epochs, "lr": 0.02, **cut}
        yield {"select": {**selecting, "select_epochs": options.sparse_epochs}}
        return
    if method in SPARSE:
        sparse = {**training, "epochs": options.sparse_epochs, "lr": 0.01, "strength": 1e-2, "method": "proximal"}
        yield {"sparsify": {**sparse, "gfr": {}} if method == "gfr" else sparse}
    yield {"prune": {**cut, "criterion": "bn_scale" if method == "slim" else method}}
    yield {"recalibrate": {"num_batches": options.recalibrate}}
    yield {"finetune": tuning}


def row(method: str, budget: float, seed: int, record: RunRecord, options: argparse.Namespace) -> dict[str, Any]:
    """What is kept of a run."""
    evaluated = [step for step in record.steps if step.accuracy is not None]
    cut = next(number for number, step in enumerate(evaluated) if step.macs < record.base_macs)
    stages = dict(zip(("cut", "recalibrated", "tuned"), map(_accuracy, evaluated[cut:]), strict=False))
    if len(stages) == 1:  # one step cut and trained
        stages = {"tuned": stages["cut"]}
    return {
        "network": options.network,
        "method": method,
        "budget": budget,
        "seed": seed,
        "epochs": options.epochs,
        "sparse_epochs": options.sparse_epochs,
        "steps": options.steps,
        "limit": options.limit,
        "macs": record.steps[-1].macs / record.base_macs,
        "seconds": sum(step.seconds for step in record.steps),
        **stages,
    }


def _accuracy(step: StepRecord) -> float:
    assert step.accuracy is not None, "evaluated steps are asked"
    return 100 * step.accuracy


KEYS = ("network", "method", "budget", "seed", "epochs", "sparse_epochs", "steps", "limit")


def measure(options: argparse.Namespace) -> None:
    """Carry out what has no line yet."""
    options.file.parent.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for budget in options.budgets:
            for method in options.methods:
                wanted = {**vars(options), "method": method, "budget": budget, "seed": seed}
                if any(all(line[key] == wanted[key] for key in KEYS) for line in known(options.file)):
                    continue
                folder = options.file.with_suffix("") / "-".join(str(wanted[key]) for key in KEYS)
                record = run(recipe(method, budget, seed, options), folder, resume=True, quiet=True)
                line = row(method, budget, seed, record, options)
                with options.file.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(line) + "\n")
                print(
                    f"{method} at {budget:.0%}, seed {seed}: {line['tuned']:.2f} %, {line['seconds']:.0f} s", flush=True
                )


def table(lines: list[dict[str, Any]]) -> Iterator[str]:
    """Rows of markdown: mean ± standard deviation over the seeds, best first."""
    yield f"| {' | '.join(HEADINGS)} |"
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault(tuple(line[key] for key in KEYS if key != "seed"), []).append(line)
    for found in sorted(groups.values(), key=lambda lines: (-lines[0]["budget"], -_mean(lines, "tuned"))):
        first = found[0]
        cells = [f"{first['budget']:.0%}", f"`{first['method']}`", f"{_mean(found, 'macs'):.1%}"]
        cells += [spread(found, stage) for stage in ("cut", "recalibrated", "tuned")]
        yield f"| {' | '.join([*cells, str(len(found))])} |"


def _mean(lines: list[dict[str, Any]], key: str) -> float:
    return statistics.fmean(line[key] for line in lines)


def main() -> None:
    """Measure, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="resnet20_cifar")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.5, 0.3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--sparse-epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, help="cut epochs short, for trials")
    parser.add_argument("--limit", type=int, help="test images; all unless given")
    parser.add_argument("--recalibrate", type=int, default=50, help="batches to re-estimate BatchNorm statistics on")
    options = parser.parse_args()
    if options.what == "run":
        measure(options)
    print("\n".join(table(known(options.file))))


if __name__ == "__main__":
    main()
