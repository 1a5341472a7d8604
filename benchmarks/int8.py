"""What int8 brings: accuracy, size and latency of the files of a run, beside float, PyTorch eager and a peer.

Carry out a recipe that cuts, trains in integers and exports, then give its folder:

    export CONVSLIM_DATA=...          # holds cifar10/ and cifar10-resnet-akamaster/
    convslim run cifar10-resnet56-int8 --out runs/r56-int8
    python benchmarks/int8.py run runs/r56-int8 build/int8-r56           # goes on where it stopped
    python benchmarks/int8.py table runs/r56-int8 build/int8-r56         # the tables of benchmarks/README.md

Beside the run's own files it makes, by calibration alone on as many training images as the run's step took: the int8
file of the network before the run's training in integers, that of the uncut network, and, where `nncf` can be imported,
NNCF's post-training quantization of the former, which OpenVINO runs. What is not installed is skipped, with the reason.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convslim.data import DataSource
from convslim.errors import ArtifactError
from convslim.export import export_int8, export_onnx
from convslim.measure.bench import bench
from convslim.measure.runtimes import OPENVINO, Call, Subject, network, onnx_file, onnx_file_in_openvino
from convslim.pipeline import parse_recipe
from convslim.pipeline.run import before_step
from convslim.quantize import quantize
from convslim.train import evaluate
from convslim.train.devices import threads as limited_threads
from convslim.train.onnx_file import evaluate_file
from int8_table import (
    CALIBRATED,
    DENSE,
    DENSE_INT8,
    EAGER_DENSE,
    EAGER_PRUNED,
    NNCF,
    PRUNED,
    TRAINED,
    TUNED,
    last_step,
    results,
    tables,
)

SETTINGS = [(batch, threads) for batch in (1, 32) for threads in (1, 2)]
REPEATS = {1: 300, 32: 40}
BATCH = 100


@dataclass(frozen=True)
class Work:
    """A finished run, and where what is made from it goes."""

    run: Path
    out: Path

    @cached_property
    def record(self) -> dict[str, Any]:
        """What the run wrote down."""
        found: dict[str, Any] = json.loads((self.run / "record.json").read_text(encoding="utf-8"))
        return found

    @cached_property
    def _before(self) -> tuple[nn.Module, nn.Module, DataSource]:
        recipe = parse_recipe(self.record["recipe"])
        number = [step["kind"] for step in self.record["steps"]].index("quantize") + 1
        state, context = before_step(recipe, self.run, number, quiet=True)
        return state.model.eval(), context.original().eval(), context.source

    @property
    def tuned(self) -> nn.Module:
        """The cut and tuned network, before it was trained in integers."""
        return self._before[0]

    @property
    def dense(self) -> nn.Module:
        """The network as the run found it."""
        return self._before[1]

    @property
    def source(self) -> DataSource:
        """The run's data."""
        return self._before[2]

    @cached_property
    def images(self) -> Tensor:
        """Training images to calibrate on, as many as the run's step took."""
        count = last_step(self.record, "quantize")["details"]["num_images"]
        return torch.cat([images for images, _ in self.source.train.batches(BATCH, seed=0, limit=count)])

    def file(self, name: str) -> Path:
        """One of the run's files, or of those that are made here."""
        return self.run / name if name in (DENSE, PRUNED, TRAINED) else self.out / name


def calibrated(work: Work, name: str, model: nn.Module) -> dict[str, Any]:
    """Post-training quantization, its file, and its accuracy on all test images."""
    done = quantize(model, work.images)
    report = export_int8(done.model, work.images[:200], work.file(name))
    inside = evaluate(done.model, work.source.test, quiet=True)
    return {
        "simulated": inside.record_fields()["correct"],
        "correct": evaluate_file(work.file(name), work.source.test).record_fields()["correct"],
        "bytes": report.bytes,
        "float_layers": len(report.kernels.real),
    }


def tuned_float(work: Work) -> dict[str, Any]:
    """The network before it was trained in integers, as a float file: what is calibrated."""
    export_onnx(work.tuned, work.source.example_input(), work.file(TUNED))
    correct = evaluate(work.tuned, work.source.test, quiet=True).record_fields()["correct"]
    return {"correct": correct, "bytes": work.file(TUNED).stat().st_size}


def by_nncf(work: Work) -> dict[str, Any]:
    """The peer: NNCF's post-training quantization of the same float file on the same images."""
    try:
        nncf: Any = importlib.import_module("nncf")
        import openvino
    except ImportError as error:
        return {"skipped": f"{error.name} is not installed"}
    work.file(TUNED).exists() or tuned_float(work)
    model = openvino.Core().read_model(work.file(TUNED))
    items = [work.images[place : place + 1].numpy() for place in range(len(work.images))]
    smaller = nncf.quantize(model, nncf.Dataset(items), subset_size=len(items))
    openvino.save_model(smaller, work.file(NNCF), compress_to_fp16=False)
    infer = openvino.Core().compile_model(smaller, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    correct = 0
    for images, labels in work.source.test.batches(BATCH):
        correct += int((np.argmax(infer(images.numpy())[0], 1) == labels.numpy()).sum())
    size = sum(work.file(NNCF).with_suffix(end).stat().st_size for end in (".xml", ".bin"))
    return {"correct": correct, "bytes": size, "version": nncf.__version__}


def nncf_in_openvino(path: Path, shape: tuple[int, ...], threads: int) -> Subject:
    """NNCF's network in OpenVINO, with the options of `convslim bench`."""

    def prepare(batch: int) -> Call:
        if not path.exists():
            raise ArtifactError("NNCF's network was not made")
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        model.reshape([batch, *shape])
        options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        options["INFERENCE_PRECISION_HINT"] = "f32"
        request = core.compile_model(model, "CPU", options).create_infer_request()
        images = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
        return partial(request.infer, [images])

    return Subject(NNCF, OPENVINO, prepare)


def subjects(work: Work, threads: int) -> Iterator[Subject]:
    """Everything that is timed in turn."""
    shape = work.source.input_shape
    for name in (DENSE, DENSE_INT8, PRUNED, CALIBRATED, TRAINED):
        for make in (onnx_file, onnx_file_in_openvino):
            made = make(work.file(name), threads=threads)
            yield Subject(name, made.runtime, made.prepare)
    yield nncf_in_openvino(work.file(NNCF), shape, threads)
    yield network(EAGER_DENSE, work.dense, work.source.example_input())
    yield network(EAGER_PRUNED, work.tuned, work.source.example_input())


def latency(work: Work, batch: int, threads: int) -> dict[str, Any]:
    """All of them at one batch size, in turn."""
    with limited_threads(threads):
        found = bench([*subjects(work, threads)], batches=(batch,), threads=threads, repeats=REPEATS[batch])
    rows = [{"name": row.name, "runtime": row.runtime, **asdict(row.latency)} for row in found.rows]
    skipped = [asdict(each) for each in found.skipped]
    return {"rows": rows, "absent": skipped, "load": found.load, "cpu": found.cpu, "versions": versions()}


def versions() -> dict[str, str]:
    """Of everything that runs a network here."""
    import onnxruntime

    found = {"python": platform.python_version(), "torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    try:
        import openvino
    except ImportError:
        return found
    return found | {"openvino": openvino.__version__.partition("-")[0]}


def stages(work: Work) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is to be done, by the name under which its result is kept."""
    made: dict[str, Callable[[], dict[str, Any]]] = {
        TUNED: partial(tuned_float, work),
        CALIBRATED: lambda: calibrated(work, CALIBRATED, work.tuned),
        DENSE_INT8: lambda: calibrated(work, DENSE_INT8, work.dense),
        NNCF: partial(by_nncf, work),
    }
    return made | {
        f"batch {batch}, threads {threads}": partial(latency, work, batch, threads) for batch, threads in SETTINGS
    }


def run(work: Work) -> None:
    """Do what is missing; what was skipped is tried again."""
    work.out.mkdir(parents=True, exist_ok=True)
    for stage, carry_out in stages(work).items():
        if "skipped" in (results(work.out).get(stage) or {"skipped": "not tried yet"}):
            row = {"stage": stage, **carry_out()}
            with (work.out / "results.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{stage}: {row.get('skipped', 'done')}", flush=True)


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("folder", type=Path, help="of a finished run with steps quantize, export and bench")
    parser.add_argument("out", type=Path, help="folder for what is made and measured")
    options = parser.parse_args()
    work = Work(options.folder, options.out)
    if options.what == "run":
        run(work)
        return
    for line in tables(work.record, work.out, work.file):
        print(line)


if __name__ == "__main__":
    main()
