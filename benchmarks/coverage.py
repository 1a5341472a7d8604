"""Which networks convslim's channel engine takes: one process per network, one JSON line per result, one table.

    python benchmarks/coverage.py run runs/coverage.jsonl                  # goes on where it stopped
    python benchmarks/coverage.py run runs/coverage.jsonl --only 'timm:res*' 'torchvision:*' --again
    python benchmarks/coverage.py run runs/coverage.jsonl --found pinned slow wrong killed
    python benchmarks/coverage.py table runs/coverage.jsonl                # writes benchmarks/coverage.md

Of every network: random weights, half of the channels of every prunable group removed by the L1 norm, the proof, and
whether the caller's network and process are as before. The list of networks is `coverage_models.txt`.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import fnmatch
import json
import multiprocessing
import os
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

import convslim
from convslim.compat import import_optional
from coverage_measure import measure
from coverage_table import Row, render, verdict

HERE = Path(__file__).parent
LIST = HERE / "coverage_models.txt"
COMMAND = "make bench-coverage"


def read(path: Path) -> dict[str, Row]:
    """The results by network; of several for one network, the last."""
    rows: dict[str, Row] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            row = json.loads(line)
            rows[row["model"]] = row
    return rows


def run(options: argparse.Namespace) -> None:
    """Measure what is chosen and not there yet; every result is one line more in the file."""
    for package in ("timm", "torchvision"):
        import_optional(package)  # once, for all the processes that branch off
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    load_both_ways()
    options.file.parent.mkdir(parents=True, exist_ok=True)
    known = read(options.file)
    specs = [spec for spec in chosen(options.only) if not options.found or _verdict(known, spec) in options.found]
    if options.again or options.found:
        known = {}
    counts: Counter[str] = Counter()
    for number, spec in enumerate(specs, 1):
        if spec in known:
            row = known[spec]
        else:
            row = in_process(spec, options.limit, options.memory)
            with options.file.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
        counts[verdict(row)] += 1
        if spec not in known:
            print(f"{number:4} {spec:50} {line(row)}   {summary(counts)}", flush=True)


def load_both_ways() -> None:
    """What tracing and exporting load once per process is loaded before the networks' processes branch off."""
    network, example = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)), torch.zeros(1, 3, 8, 8)
    for way in ("class", "graph"):
        convslim.trace(network, example, ways=(way,))


def _verdict(known: dict[str, Row], spec: str) -> str:
    return verdict(known[spec]) if spec in known else "new"


def chosen(patterns: Sequence[str]) -> list[str]:
    """The networks of the list whose names fit; a full name that is not in the list is taken as it is."""
    listed = LIST.read_text().split()
    found = [spec for spec in listed if any(fnmatch.fnmatch(spec, pattern) for pattern in patterns)]
    return found + [spec for spec in patterns if spec not in listed and not set(spec) & set("*?[") and ":" in spec]


def in_process(spec: str, limit: float, gibibytes: float) -> Row:
    """Measure a network in a process of its own, which is ended when its time is over."""
    row: Row = {"model": spec}
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    with tempfile.TemporaryFile("w+") as stacks:
        child = fork.Process(target=_work, args=(spec, gibibytes, sender, stacks.fileno(), limit))
        child.start()
        sender.close()
        for part in _parts(receiver, limit):
            row.update(part)
        if child.is_alive() and row.get("stage") != "done" and "error" not in row:
            child.kill()
        child.join()
        stacks.seek(0)
        where = _innermost(stacks.read())
    if row.get("stage") != "done" and "error" not in row and (where or child.exitcode == -signal.SIGKILL):
        message = f"not done after {limit:.0f} s"
        row["error"] = {"stage": row.get("stage"), "type": "Killed", "message": message, "where": where}
    if row.get("stage") != "done" and "error" not in row:
        row["error"] = {
            "stage": row.get("stage"),
            "type": "Died",
            "message": f"exit code {child.exitcode}",
            "where": [],
        }
    return row


def _work(spec: str, gibibytes: float, sender: Connection, stacks: int, limit: float) -> None:
    def tell(part: dict[str, Any]) -> None:
        sender.send(part)
        if part.get("stage") == "trace":  # building the network has its own time
            faulthandler.dump_traceback_later(max(limit - 2, 1), file=stacks, exit=True)

    measure(spec, gibibytes, tell)
    sender.close()


def _parts(receiver: Connection, limit: float) -> Iterator[dict[str, Any]]:
    """What the process tells, until it is done or its time is over; the time to build the network does not count."""
    deadline = time.monotonic() + 3 * limit
    with contextlib.suppress(EOFError):
        while receiver.poll(max(deadline - time.monotonic(), 0)):
            part = receiver.recv()
            if part.get("stage") == "trace":
                deadline = time.monotonic() + limit
            yield part


def _innermost(stacks: str) -> list[str]:
    frames = [text.strip() for text in stacks.splitlines() if text.strip().startswith("File")]
    return [text.replace(os.sep, "/").rpartition("/")[2].replace('", line ', ":") for text in frames[:8]]


def line(row: Row) -> str:
    """A result in a few words."""
    if "error" in row:
        error = row["error"]
        return f"{verdict(row)}: {error['stage']}: {error['type']}: {error['message'][:90]!r}"
    seconds = f"{row['trace_s']:.1f}+{row['remove_s']:.1f} s"
    left = f"MACs {row['macs_left'] / max(row['macs'], 1):.2f}, error {row['relative_error']:.0e}"
    return f"{verdict(row)}: {row['prunable']}/{row['groups']}, {left}, change {row['change']:.0e}, {seconds}"


def summary(counts: Counter[str]) -> str:
    """Counts by verdict."""
    return "[" + ", ".join(f"{name} {count}" for name, count in counts.most_common()) + "]"


def table(options: argparse.Namespace) -> None:
    """Write the table."""
    rows = read(options.file)
    listed = sorted(LIST.read_text().split())
    there = [rows[spec] for spec in listed if spec in rows]
    text = render(there, [spec for spec in listed if spec not in rows], COMMAND)
    options.to.write_text(text)
    print(f"{options.to}: {len(there)} networks")


def main() -> None:
    parser = argparse.ArgumentParser(description="Which networks convslim's channel engine takes.")
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run", help="measure networks")
    running.add_argument("file", type=Path, help="JSON lines, one per network; grows")
    running.add_argument("--only", nargs="+", default=["*"], help="patterns, or full names like timm:resnet18")
    running.add_argument("--again", action="store_true", help="also what is there already")
    running.add_argument("--found", nargs="+", default=[], help="only what was found pinned, wrong, ...; again")
    running.add_argument("--limit", type=float, default=90, help="seconds until a network is given up")
    running.add_argument("--memory", type=float, default=12, help="address space in GiB")
    running.set_defaults(work=run)
    writing = commands.add_parser("table", help="write the table")
    writing.add_argument("file", type=Path)
    writing.add_argument("--to", type=Path, default=HERE / "coverage.md")
    writing.set_defaults(work=table)
    options = parser.parse_args()
    options.work(options)


if __name__ == "__main__":
    main()
