"""Kill a whole run at random moments, resume it, and compare with the run that was never interrupted.

    python benchmarks/kills.py --kills 50

Every trial starts the run in a process of its own and kills it by SIGKILL at a moment drawn from its whole length. It
may kill the resumed one again, and lets the last one finish. Then metrics, weights, plans and exported files must be
those of the run without interruption, to the last bit; only times may differ. Prints one JSON object; the exit code is
1 if anything differs. `--recipe full` has steps of most kinds, exports and integers included; `--recipe short` trains
less, and leaves out the steps that take longest.

Processes are forked from one that has imported everything and computed nothing, so that a trial takes seconds.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime  # these three so that no child has to import them
import onnxscript
import sklearn.datasets

from convslim.cli.run import run_in
from convslim.pipeline import Recipe, parse_recipe

RECIPE: dict[str, Any] = {
    "name": "kills",
    "threads": 1,
    "model": {"spec": "digits_cnn"},
    "data": {"spec": "digits"},
    "evaluation": {"limit": 64},
    "steps": [
        {"train": {"epochs": 8, "batch_size": 64, "lr": 0.05, "steps_per_epoch": 8}},
        {"sparsify": {"epochs": 4, "batch_size": 64, "lr": 0.02, "steps_per_epoch": 8, "gfr": {}}},
        {"prune": {"criterion": "gfr", "budget": {"macs": 0.5}}},
        {"reconstruct": {"num_images": 100, "batch_size": 50, "compared": 50}},
        {"recalibrate": {"num_batches": 2}},
        {"finetune": {"epochs": 8, "batch_size": 64, "lr": 0.02, "steps_per_epoch": 8, "ema_decay": 0.9}},
        {"export": {"latency": None}},
        {"quantize": {"num_images": 64, "compared": 16, "limit": 64}},
    ],
}
LONG = ("reconstruct", "export", "quantize")
TIMES = ("seconds", "images_per_second")


def start(recipe: Recipe, folder: Path) -> int:
    """Run or resume in a forked process; its number."""
    child = os.fork()
    if child:
        return child
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            run_in(recipe, ["kills"], folder, resume=True, overwrite=False, quiet=True)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
    os._exit(0)


def finish(recipe: Recipe, folder: Path) -> float:
    """Let a run end; the seconds that it took."""
    started = time.monotonic()
    _, status = os.waitpid(start(recipe, folder), 0)
    if status:
        raise SystemExit(f"A resumed run in {folder} ended with {os.waitstatus_to_exitcode(status)}.")
    return time.monotonic() - started


def kill_after(recipe: Recipe, folder: Path, seconds: float) -> bool:
    """Start, wait, kill; False if the run was over before."""
    child = start(recipe, folder)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def content(folder: Path) -> dict[str, Any]:
    """What must be equal: the record without times, and every file of networks, plans and exports."""
    found: dict[str, Any] = {"record": timeless(json.loads((folder / "record.json").read_text(encoding="utf-8")))}
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".safetensors", ".onnx") or path.name in ("plan.json", "graph.json"):
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def timeless(data: Any) -> Any:
    """Data without what a clock wrote."""
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in TIMES}
    return [timeless(value) for value in data] if isinstance(data, list) else data


def differences(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    """Names of what is not equal."""
    yield from (name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name))


def shortened() -> dict[str, Any]:
    """The recipe without its longest steps, and with fewer training steps."""
    steps = [step for step in RECIPE["steps"] if next(iter(step)) not in LONG]
    fewer = [
        {kind: {**config, "steps_per_epoch": 2} if "epochs" in config else config}
        for step in steps
        for kind, config in step.items()
    ]
    return {**RECIPE, "steps": fewer}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", choices=("full", "short"), default="full")
    words = parser.parse_args()
    recipe, rng = parse_recipe(shortened() if words.recipe == "short" else RECIPE), random.Random(words.seed)
    moments: list[float] = []
    wrong: list[str] = []
    stages: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        length = finish(recipe, base / "whole")
        whole = content(base / "whole")
        trials = 0
        while len(moments) < words.kills:
            trials += 1
            folder = base / f"trial-{trials}"
            while len(moments) < words.kills:
                moment = rng.uniform(0, length)
                if kill_after(recipe, folder, moment):
                    moments.append(round(moment, 3))
                    stage = stage_of(folder)
                    stages[stage] = stages.get(stage, 0) + 1
                if rng.random() < 0.5:
                    break
            finish(recipe, folder)
            wrong += [f"trial {trials}: {each}" for each in differences(whole, content(folder))]
            sys.stderr.write(f"{len(moments)} kills in {trials} trials, {len(wrong)} differences\n")
    report = {
        "versions": {
            "onnxruntime": onnxruntime.__version__,
            "onnxscript": onnxscript.__version__,
            "sklearn": sklearn.__version__,
        },
        "recipe": words.recipe,
        "kills": len(moments),
        "trials": trials,
        "files_compared": len(whole) - 1,
        "different": wrong,
        "seconds_of_a_run": round(length, 2),
        "stages": dict(sorted(stages.items())),
    }
    print(json.dumps(report, indent=1))
    return bool(wrong)


def stage_of(folder: Path) -> str:
    """The step in which a run was killed, as its folder tells."""
    steps = sorted((folder / "steps").glob(".*")) if (folder / "steps").is_dir() else []
    done = sorted((folder / "steps").glob("[0-9]*")) if (folder / "steps").is_dir() else []
    return f"in {steps[0].name[1:]}" if steps else f"after {done[-1].name}" if done else "before the first step"


if __name__ == "__main__":
    sys.exit(main())
