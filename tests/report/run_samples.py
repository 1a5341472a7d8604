"""Runs as data: one with everything that a report can show, much of it hostile, and one that only began."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EVIL = '<img src=x onerror="pwned=1">'
GROUPS = {"stem": 16, f"block.{EVIL}": 48, "fc": 10}
KEPT = {"stem": [0, 1, 2, 7], f"block.{EVIL}": [*range(0, 48, 2)], "fc": [*range(10)]}


def epochs(number: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "lr": 0.1 / epoch,
            "train_loss": 2.0 / epoch,
            "train_accuracy": 1 - 0.6 / epoch,
            "penalty": None,
            "seconds": 0.5,
            "images_per_second": 1000.0,
            "test_correct": 90 - 40 // epoch if epoch % 2 else None,
            "test_total": 100 if epoch % 2 else None,
            "test_loss": 2.2 / epoch if epoch % 2 else None,
            "test_accuracy": (90 - 40 // epoch) / 100 if epoch % 2 else None,
            "guidance": None,
            **more,
        }
        for epoch in range(1, number + 1)
    ]


def step(kind: str, macs: int, correct: int | None = None, **more: Any) -> dict[str, Any]:
    scored = {} if correct is None else {"correct": correct, "total": 100, "loss": 1 - correct / 100}
    return {"kind": kind, "config": {}, "seconds": 1.5, "macs": macs, "params": macs // 10, **scored, **more}


def latency(name: str, batch: int, median: float) -> dict[str, Any]:
    return {
        "name": name,
        "batch": batch,
        "threads": 1,
        "repeats": 50,
        "median_ms": median,
        "p10_ms": median * 0.9,
        "p90_ms": median * 1.2,
        "min_ms": median * 0.8,
    }


def record(name: str = EVIL, steps: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    steps = everything() if steps is None else steps
    return {
        "name": name,
        "seed": 7,
        "recipe": {
            "name": name,
            "seed": 7,
            "model": {"spec": f"net.py:{EVIL}", "options": {}},
            "data": {"spec": "digits", "options": {}},
            "steps": [{each["kind"]: each["config"]} for each in steps],
        },
        "versions": {"python": "3.11.7", "convslim": "0.1.0", "torch": "2.13.0+cpu"},
        "machine": {"cpu": "A </script> CPU", "cores": 2, "system": "Linux x86_64", "python": "3.11.7"},
        "base_macs": 100_000,
        "base_params": 10_000,
        "steps": steps,
    }


CERTIFICATE = {"max_error": 3e-7, "relative_error": 1e-7, "tolerance": 1e-4, "num_operations": 44, "num_outputs": 1}
COUNTS = {"edges": [0.0, 0.5, 1.0, 1.5], "counts": {"kept": [0, 4, 9], "removed": [7, 2, 0]}}


def cut() -> dict[str, Any]:
    return {
        "way": "class",
        "way_reason": f"no number {EVIL} holds channels back",
        "certificate": {**CERTIFICATE, "num_approximate": 1},
        "threshold": 0.7,
        "scores": COUNTS,
        "gfr": {"factors": {"stem_bn": [0.4, 0.5, 0.5], "bn": [0.7]}, "folded": True},
        "latency": {"asked_ms": 1.0, "predicted_ms": 0.9, "kept": True},
        "pinned": {f"fc{EVIL}": [f"an output {EVIL}"]},
        "approximate": {"stem": ["layer normalization runs over the channels (net.py:3)"]},
        "notes": [f"a note {EVIL}"],
    }


def candidates() -> list[dict[str, Any]]:
    return [
        {
            "name": f"{generation}.{slot}",
            "generation": generation,
            "parents": [f"{generation - 1}.0"] if generation else [],
            "genome": {"stem": 0.5},
            "widths": [8],
            "costs": {"macs": 30_000 + 1000 * slot, "latency": 2_000_000 + slot},
            "fitness": [0.5 + 0.1 * generation + 0.01 * slot],
            "correct": 50,
            "total": 100,
            "complete": slot != 2,
            "seconds": 0.1,
            "shared_with": None,
            "forecast": None,
            "plan": "3f",
        }
        for generation in range(3)
        for slot in range(4)
    ]


def int8() -> dict[str, Any]:
    file = {
        "path": "int8.onnx",
        "bytes": 2000,
        "error": 1e-6,
        "agreement": 1.0,
        "integer_layers": 3,
        "float_layers": [],
    }
    return {
        "num_images": 20,
        "file": {**file, "float_layers": []},
        "layers": {"stem": 41.5, "block": 22.0, "fc": None},
        "left": {EVIL: EVIL},
        "float": {"correct": 93},
        "simulation": {"correct": 92},
    }


def profile() -> list[dict[str, Any]]:
    kernel = {"node": "n1", "operation": "Conv", "ms": 0.5, "input_type": "float", "output_shape": [1, 8, 4, 4]}
    return [{**kernel, "layer": f"stem{EVIL}", "integer": False}, {**kernel, "layer": "", "integer": True, "ms": 0.0}]


def confusion(since: int | None = None) -> dict[str, Any]:
    found = {"names": ["cat", f"dog {EVIL}", "none"], "totals": [60, 40, 0], "right": [57, 35, 0]}
    found |= {"pairs": [[1, 0, 4], [0, 1, 3], [1, 7, 1]]}
    return found if since is None else {**found, "since": since, "lost": [1, 4, 0], "won": [2, 0, 0]}


PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


def samples() -> list[dict[str, Any]]:
    rows = [(3, 0, 0, 1), (8, 1, 1, 7), (9, 1, 0, 1)]
    keys = ("index", "label", "before", "after")
    return [{**dict(zip(keys, row, strict=True)), "picture": PIXEL} for row in rows]


def everything() -> list[dict[str, Any]]:
    """One step of every kind that has something to show."""
    found = {"candidates": candidates(), "best": "2.3", "front": ["0.0"], "evaluated": 9}
    rounds = [{"certificate": CERTIFICATE, "coefficients": COUNTS}]
    parity = {"num_images": 50, "error": 0.03, "agreement": 0.99, "kl": 0.01}
    timed = {"rows": [], "baseline": ["original.onnx", "onnxruntime"], "profiles": {EVIL: profile()}}
    files = (latency("original.onnx", 1, 2.0), latency("model.onnx", 1, 0.5), latency(EVIL, 1, 0.7))
    return [
        step("train", 100_000, 95, details={"epochs": epochs(5)}, confusion=confusion()),
        step("sparsify", 101_000, 96, details={"epochs": epochs(30, penalty=2.0), "scales": COUNTS}),
        step("search", 40_000, 60, details={"search": found}),
        step("prune", 40_000, 40, config={"criterion": EVIL, "keep": [EVIL]}, details=cut()),
        step("select", 40_000, 90, details={"epochs": epochs(3, guidance=0.5), "rounds": rounds}),
        step("reconstruct", 40_000, 92, details={"layers": [], "parity": parity}),
        step("export", 40_000, details={"path": "model.onnx", "max_error": 1e-6, "batch_sizes": [1, 3]}),
        step("quantize", 40_000, 92, details=int8(), confusion=confusion(1), samples=samples()),
        step("bench", 40_000, latency=files, details=timed),
    ]


def detection() -> list[dict[str, Any]]:
    """A detector's evaluations: mean average precision and curves."""

    def classes(value: float) -> list[dict[str, Any]]:
        curve = {"recall": [0.1, 0.5, 0.8], "precision": [1.0, 0.9, 0.4], "scores": [0.9, 0.5, 0.1]}
        found = {"average_precision": value, "eleven_point": value, "num_objects": 9, **curve}
        empty = {"average_precision": None, "eleven_point": None, "num_objects": 0}
        return [
            {"name": f"cell {EVIL}", **found},
            {"name": "none", **empty, "recall": [], "precision": [], "scores": []},
        ]

    def judged(kind: str, macs: int, value: float) -> dict[str, Any]:
        more = {"measure": "mAP", "value": value, "eleven_point": value, "total": 36, "classes": classes(value)}
        more["coco"] = {"AP": value / 2, "AP50": None}
        return {**step(kind, macs), **more}

    return [judged("evaluate", 100_000, 0.9), judged("finetune", 50_000, 0.85)]


def write(folder: Path, data: dict[str, Any], *, cut: bool = True) -> Path:
    """A run's folder, as far as a report looks at it."""
    (folder / "model").mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(data), encoding="utf-8")
    (folder / "recipe.json").write_text(json.dumps(data["recipe"]), encoding="utf-8")
    (folder / "model" / "model.safetensors").write_bytes(bytes(400))
    for name, size in (("original.onnx", 9000), ("model.onnx", 4000)):
        (folder / name).write_bytes(bytes(size))
    if cut:
        plan = {"format": 1, "structure": "3f", "channels": GROUPS, "kept": KEPT, "slices": {}, "attributes": {}}
        (folder / "model" / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    return folder
