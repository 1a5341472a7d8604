"""Genetic search on CIFAR-10 against uniform, global and random cuts of the same network, tuned in the same way.

    export CONVSLIM_DATA=...          # holds cifar10/ and cifar10-resnet-akamaster/
    python benchmarks/genetic.py run build/genetic.jsonl                             # everything: hours
    python benchmarks/genetic.py run build/genetic.jsonl --networks resnet20_cifar --budgets 0.5 --seeds 0
    python benchmarks/genetic.py table build/genetic.jsonl

A network is trained sparsely once for every seed, with the gradient-limited L1/2 penalty of the built-in recipes, and
cut in four ways, all on the scales of its BatchNorms. `genetic` and `random` search judge as many candidates, on
training images that no training of the run sees; `uniform` and `global` take one ratio and one threshold. All four are
tuned towards the network before the cut. Every run is a folder beside the file, and a line in it when it is finished;
what has a line is not done again, and what was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convslim.pipeline import Recipe, parse_recipe, run
from convslim.pipeline.folder import MODEL
from convslim.report import RunRecord, StepRecord
from measured_lines import known, spread

METHODS = ("uniform", "global", "random", "genetic")
NETWORKS = {
    "resnet20_cifar": "resnet20-12fca82f",
    "resnet56_cifar": "resnet56-4bfd9763",
}
SHARED = ("network", "sparse_epochs", "sparse_steps", "images", "limit", "seed")
"""What a sparse network depends on."""
KEYS = (*SHARED, "method", "budget", "epochs", "steps", "batches", "population", "generations")
HEADINGS = (
    "network",
    "MACs asked",
    "cut",
    "MACs left",
    "on held-out images",
    "BN re-estimated",
    "tuned",
    "search, s",
    "runs",
)


def recipe(name: str, weights: str, steps: list[dict[str, Any]], options: argparse.Namespace) -> Recipe:
    """A recipe on CIFAR-10 with images held out of the training set."""
    return parse_recipe(
        {
            "name": name,
            "seed": options.seed,
            "threads": 1,
            "model": {"spec": options.network, "weights": weights},
            "data": {
                "spec": "cifar10",
                "options": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "holdout": options.images},
            },
            "evaluation": {"limit": options.limit},
            "steps": steps,
        }
    )


def training(seed: int, steps: int | None) -> dict[str, Any]:
    """What all trainings have in common; without a number of steps their epochs are whole."""
    common: dict[str, Any] = {"precision": "bf16", "threads": 1, "evaluate_every": 1000, "seed": seed}
    return common if steps is None else {**common, "steps_per_epoch": steps}


def sparse(options: argparse.Namespace) -> tuple[str, StepRecord]:
    """The weights of the sparse network that all cuts begin with, and the record of its training."""
    penalty = {"strength": 1e-3, "penalty": "l_half", "method": "proximal", "aim": {"share": 0.3}, "linear": False}
    common = training(options.seed, options.sparse_steps)
    step = {"sparsify": {**common, **penalty, "epochs": options.sparse_epochs, "lr": 0.01}}
    weights = f"${{CONVSLIM_DATA}}/cifar10-resnet-akamaster/{NETWORKS[options.network]}.safetensors"
    folder = folder_of(options, SHARED)
    record = run(recipe("sparse", weights, [step], options), folder, resume=True, quiet=True)
    return str(next((folder / MODEL).glob("*.safetensors")).resolve()), record.steps[0]


def steps(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One cut, fresh statistics, and the tuning."""
    cut: dict[str, Any] = {"budget": {"macs": options.budget}, "round_to": 8, "ways": ["class"], "seed": options.seed}
    if options.method in ("uniform", "global"):
        first = {"prune": {**cut, "allocation": options.method}}
    else:
        sizes = {key: getattr(options, key) for key in ("population", "generations")}
        judged = {"num_images": options.images, "num_batches": options.batches}
        first = {"search": {**cut, **sizes, **judged, "sampler": options.method}}
    tuning = {
        **training(options.seed, options.steps),
        "epochs": options.epochs,
        "lr": 0.02,
        "warmup_epochs": 0.1 * options.epochs,
    }
    distill = {"losses": [{"kind": "logits", "weight": 0.9}]}
    return [first, {"recalibrate": {"num_batches": 50}}, {"finetune": {**tuning, "distill": distill}}]


def row(record: RunRecord, before: StepRecord, options: argparse.Namespace) -> dict[str, Any]:
    """What is kept of a run."""
    cut, *stages = record.steps
    found = cut.details.get("search")
    line = {key: getattr(options, key) for key in KEYS}
    below = [before.details[key] for key in before.details if key.startswith("scales_below")]
    line |= {"macs": cut.macs / record.base_macs, "sparse": _accuracy(before), "small_scales": below[0]}
    line |= dict(zip(("cut", "recalibrated", "tuned"), map(_accuracy, (cut, *stages)), strict=True))
    line["seconds"] = {step.kind: round(step.seconds, 1) for step in record.steps}
    if found:
        best = next(candidate for candidate in found["candidates"] if candidate["name"] == found["best"])
        line |= {"held_out": cut.details["held_out"], "fitness": 100 * best["correct"] / best["total"]}
        line |= {"best": best["name"], "evaluated": len(found["candidates"])}
    return line


def _accuracy(step: StepRecord) -> float:
    assert step.accuracy is not None, "evaluated steps are asked"
    return 100 * step.accuracy


def folder_of(options: argparse.Namespace, keys: tuple[str, ...]) -> Path:
    """Where a run lies."""
    file: Path = options.file
    return file.with_suffix("") / "-".join(str(getattr(options, key)) for key in keys)


def cases(options: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """What is to be measured; all cuts of one network follow each other."""
    for network in options.networks:
        for budget in options.budgets:
            for seed in options.seeds:
                for method in options.methods:
                    one = {"network": network, "seed": seed, "budget": budget, "method": method}
                    yield argparse.Namespace(**vars(options) | one)


def measure(options: argparse.Namespace) -> None:
    """Carry out what has no line yet."""
    options.file.parent.mkdir(parents=True, exist_ok=True)
    for case in cases(options):
        if any(all(line[key] == getattr(case, key) for key in KEYS) for line in known(case.file)):
            continue
        weights, before = sparse(case)
        record = run(recipe(case.method, weights, steps(case), case), folder_of(case, KEYS), resume=True, quiet=True)
        line = row(record, before, case)
        with case.file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        shown = f"{line['sparse']:.2f} → {line['recalibrated']:.2f} → {line['tuned']:.2f} %, {line['seconds']}"
        print(f"{case.network} {case.method} at {case.budget:.0%}, seed {case.seed}: {shown}", flush=True)


def table(lines: list[dict[str, Any]]) -> Iterator[str]:
    """Rows of markdown: mean ± standard deviation over the seeds."""
    yield f"| {' | '.join(HEADINGS)} |"
    yield "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault(tuple(line[key] for key in KEYS if key != "seed"), []).append(line)
    for found in sorted(groups.values(), key=_order):
        first = found[0]
        search = [line["seconds"]["search"] for line in found if "search" in line["seconds"]]
        cells = [first["network"], f"{first['budget']:.0%}", f"`{first['method']}`"]
        cells += [f"{statistics.fmean(line['macs'] for line in found):.1%}"]
        cells += [spread(found, stage) for stage in ("fitness", "recalibrated", "tuned")]
        cells += [f"{statistics.fmean(search):.0f}" if search else "–", str(len(found))]
        yield f"| {' | '.join(cells)} |"


def _order(lines: list[dict[str, Any]]) -> tuple[Any, ...]:
    first = lines[0]
    return first["network"], -first["budget"], METHODS.index(first["method"])


def main() -> None:
    """Measure, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.5, 0.4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sparse-epochs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10, help="of tuning")
    parser.add_argument("--steps", type=int, help="cut epochs of tuning short, for trials")
    parser.add_argument("--sparse-steps", type=int, help="cut epochs of sparse training short")
    parser.add_argument("--images", type=int, default=2000, help="held out of the training set, and counted")
    parser.add_argument("--batches", type=int, default=4, help="of 128 images, for a candidate's BatchNorm statistics")
    parser.add_argument("--limit", type=int, help="test images; all unless given")
    parser.add_argument("--population", type=int, default=20)
    parser.add_argument("--generations", type=int, default=8)
    options = parser.parse_args()
    if options.what == "run":
        measure(options)
    print("\n".join(table(known(options.file))))


if __name__ == "__main__":
    main()
