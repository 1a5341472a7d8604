"""Method joint on the detector: BCCD, dense, sparse, cut by 30 and 50 % of the MACs, as int8 files; random and uniform.

    CONVSLIM_DATA=/data python benchmarks/detection.py run build/detection   # an hour of one core; goes on if killed
    python benchmarks/detection.py latency build/detection                   # all files in turn, on a quiet machine
    python benchmarks/detection.py table build/detection                     # what is there so far

Networks, sizes and epochs are those of the recipe `bccd-yolov3-joint`. The dense network is trained once, and trained
sparsely once. All cuts are of that one sparse network and have the same tuning and the same quantization training:
`joint` by |γ| over all layers, `uniform` by |γ| with the same share of every layer, `random` by chance over all layers;
each with BatchNorm statistics re-estimated, and reconstructed.
The int8 file of the dense network comes from calibration alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convslim.measure.bench import bench
from convslim.measure.runtimes import onnx_file
from convslim.pipeline import load_recipe, parse_recipe, run
from convslim.report import RunRecord, StepRecord

RECIPE = "bccd-yolov3-joint"
LEFT = (0.7, 0.5)
CUTS: dict[str, dict[str, Any]] = {
    "joint": {"allocation": "global"},
    "random": {"criterion": "random", "options": {}, "allocation": "global", "order": "at-once"},
    "uniform": {"allocation": "uniform", "order": "at-once"},
}
MENDED: dict[str, dict[str, Any]] = {"": {"recalibrate": {"num_batches": 12, "batch_size": 16}}, "-reconstructed": {}}
"""What comes between cut and tuning, by the end of the run's name; where nothing is said, what the recipe does."""

FINISH = [{"export": {"latency": None}}]
LATENCY = "latency.json"


def steps() -> dict[str, dict[str, Any]]:
    """The recipe's steps by kind."""
    return {kind: config for step in load_recipe(RECIPE).to_data()["steps"] for kind, config in step.items()}


def carry_out(name: str, parts: list[dict[str, Any]], weights: Path | None, out: Path) -> RunRecord:
    """Run some steps from some weights, or go on with them."""
    data = load_recipe(RECIPE).to_data()
    model = {**data["model"], "weights": None if weights is None else str(weights)}
    recipe = parse_recipe({**data, "name": f"bccd-{name}", "model": model, "steps": parts})
    record = run(recipe, out / name, resume=True, quiet=True)
    print(name, *(f"{step.kind} {step.measured:.4f}" for step in record.steps if step.measured is not None), flush=True)
    return record


def weights_of(out: Path, name: str) -> Path:
    """The network that a run left."""
    return out / name / "model" / "model.safetensors"


def measure(out: Path) -> None:
    """All runs, those that are finished only read."""
    step = steps()
    carry_out("dense", [{"train": step["train"]}], None, out)
    carry_out("sparse", [{"sparsify": step["sparsify"]}], weights_of(out, "dense"), out)
    calibrated = {key: step["quantize"][key] for key in ("num_images", "compared")}
    quantized = [{"evaluate": {}}, {"quantize": calibrated}, *FINISH]
    carry_out("dense-int8", quantized, weights_of(out, "dense"), out)
    tuned = [{kind: step[kind]} for kind in ("finetune", "quantize")]
    for left, name, end in itertools.product(LEFT, CUTS, MENDED):
        prune = {**step["prune"], "budget": {"macs": left}, **CUTS[name]}
        mended = MENDED[end] or {"reconstruct": step["reconstruct"]}
        carry_out(f"{name}-{left}{end}", [{"prune": prune}, mended, *tuned, *FINISH], weights_of(out, "sparse"), out)


def latency(out: Path) -> None:
    """Time all files in ONNX Runtime at batch 1 with one thread, in short turns."""
    files = sorted(out.glob("*/model*.onnx"))
    found = bench([onnx_file(file) for file in files], repeats=300, baseline=str(out / "dense-int8" / "model.onnx"))
    times = {Path(row.name).relative_to(out).as_posix(): asdict(row.latency) for row in found.rows}
    (out / LATENCY).write_text(json.dumps(times, indent=1))
    print(*found.notes, sep="\n")


def by_kind(record: RunRecord, kind: str) -> StepRecord | None:
    """The step of a kind, where a run has it."""
    return next((step for step in record.steps if step.kind == kind), None)


def percent(value: float | None) -> str:
    """A share in words."""
    return "–" if value is None else f"{100 * value:.1f}"


def row(name: str, record: RunRecord, base: RunRecord, times: dict[str, Any]) -> str:
    """One line of the table."""
    float_step = by_kind(record, "finetune") or by_kind(record, "evaluate") or by_kind(record, "sparsify")
    cut, mixed = by_kind(record, "prune"), by_kind(record, "quantize")
    mended = by_kind(record, "reconstruct") or by_kind(record, "recalibrate")
    if float_step is None:
        return ""
    cells = [
        f"{float_step.macs / base.base_macs:.3f}",
        f"{float_step.params / base.base_params:.3f}",
        percent(cut.measured if cut else None),
        percent(mended.measured if mended else None),
        percent(float_step.measured),
        percent(mixed.details["simulation"]["value"] if mixed else None),
        percent(mixed.measured if mixed else None),
        *(milliseconds(times.get(f"{name}/{file}")) for file in ("model.onnx", "model-int8.onnx")),
    ]
    return f"| {name.removesuffix('-int8')} | {' | '.join(cells)} |"


def milliseconds(found: dict[str, float] | None) -> str:
    """A median in words, and the percentiles beside it."""
    return "–" if found is None else f"{found['median_ms']:.2f} ({found['p10_ms']:.2f}–{found['p90_ms']:.2f})"


def table(out: Path) -> None:
    """Print what has been measured."""
    base = RunRecord.load(out / "dense" / "record.json")
    times = json.loads((out / LATENCY).read_text()) if (out / LATENCY).exists() else {}
    print("| network | MACs | parameters | mAP cut | mended | tuned | simulated int8 | int8 file | ms | ms int8 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    names = ["dense-int8", "sparse", *(f"{name}-{left}{end}" for left in LEFT for name in CUTS for end in MENDED)]
    for name in names:
        file = out / name / "record.json"
        if file.exists():
            print(row(name, RunRecord.load(file), base, times))


def main() -> None:
    """Measure, or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "latency", "table"])
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    if options.what == "run":
        measure(options.out)
    if options.what == "latency":
        latency(options.out)
    table(options.out)


if __name__ == "__main__":
    main()
