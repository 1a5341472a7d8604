"""Markdown rows from finished runs of one recipe, one folder per criterion.

convslim run cifar10-resnet56-slim --out runs/bn_scale
convslim run cifar10-resnet56-slim --out runs/l1 --set steps.prune.criterion=l1
convslim run cifar10-resnet56-slim --out runs/random --set steps.prune.criterion=random
python benchmarks/cifar10.py runs/bn_scale runs/l1 runs/random
"""

import sys
from pathlib import Path

from convslim.report import LatencyRecord, RunRecord, StepRecord

HEADINGS = (
    "criterion",
    "MACs left",
    "parameters left",
    "right after the cut",
    "BN re-estimated",
    "fine-tuned",
    "epochs",
    "ms at batch 1",
    "ms at batch 32",
)


def last(record: RunRecord, kind: str) -> StepRecord:
    """The last step of a kind."""
    return [step for step in record.steps if step.kind == kind][-1]


def accuracy(step: StepRecord) -> str:
    """Correct test images."""
    return f"{step.correct:,} / {step.total:,}"


def milliseconds(latencies: tuple[LatencyRecord, ...], batch: int) -> str:
    """Median before → after, and the ratio."""
    found = {latency.name: latency.median_ms for latency in latencies if latency.batch == batch}
    return f"{found['before']:.2f} → {found['after']:.2f} ({found['before'] / found['after']:.2f}×)"


def row(record: RunRecord) -> tuple[str, ...]:
    """One criterion."""
    prune, tuned, export = last(record, "prune"), last(record, "finetune"), last(record, "export")
    before = prune.details["macs_before"], prune.details["params_before"]
    return (
        f"`{prune.config['criterion']}`",
        f"{prune.macs:,} ({100 * prune.macs / before[0]:.1f} %)",
        f"{prune.params:,} ({100 * prune.params / before[1]:.1f} %)",
        accuracy(prune),
        accuracy(last(record, "recalibrate")),
        f"**{accuracy(tuned)}**",
        str(tuned.config["epochs"]),
        milliseconds(export.latency, 1),
        milliseconds(export.latency, 32),
    )


def main(folders: list[str]) -> None:
    """Print the table."""
    rows = [HEADINGS, ("---",) * len(HEADINGS)] + [row(RunRecord.load(Path(f) / "record.json")) for f in folders]
    print("\n".join(f"| {' | '.join(cells)} |" for cells in rows))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
