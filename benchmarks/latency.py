"""Budgets of latency: what was asked, expected and measured on the whole network, in ONNX Runtime on this machine.

Random weights: latency does not depend on them. Run it from the root of the repository:

    python benchmarks/latency.py                                  # the tables of benchmarks/README.md
    python benchmarks/latency.py --only resnet20_cifar --budgets 0.6 --checks 5
    python benchmarks/latency.py --only resnet56_cifar --budgets 0.9 --arithmetic int8 --round-to 16
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from statistics import median
from typing import get_args

import torch

import convslim
from convslim.allocate import Allocation, Measured, Timing, solve
from convslim.allocate.allocation import How
from convslim.allocate.promise import TOLERANCE
from convslim.errors import BudgetError
from convslim.export.arithmetic import Mode
from convslim.measure.machine import cpu_name, load

NETWORKS = {"resnet20_cifar": 32, "resnet56_cifar": 32, "timm:mobilenetv2_050": 96, "timm:resnet18": 96}
HOWS: tuple[How, ...] = ("global", "uniform")
HEAD = (
    "| network | asked | widths by | MACs left | expected at first | measured at first | corrections | measured | "
    "of the promise, median of {checks} checks (least–most) |"
)


def checked(found: Allocation, timing: Timing, checks: int) -> list[float]:
    """Latency of the plan over what was promised, measured again and again; 1 is the promise."""
    assert timing.measure is not None
    assert found.latency is not None
    shares = []
    for _ in range(checks):
        again = timing.measure(found.plan)
        shares.append(again.ms / again.original_ms / (found.latency.asked_ms / found.latency.original_ms))
    return shares


def rows(name: str, size: int, options: argparse.Namespace) -> Iterator[str]:
    """One row of the table for every budget and way to share it."""
    torch.manual_seed(0)
    model = convslim.models.create(name).eval()
    example = torch.zeros(1, 3, size, size)
    graph = convslim.trace(model, example)
    started = time.process_time()
    timing = convslim.timing(graph, model, example, threads=options.threads, arithmetic=options.arithmetic)
    print(
        f"<!-- {name}: {timing.original_ms:.3f} ms, {time.process_time() - started:.0f} s of processor to measure -->"
    )
    scores = convslim.score(graph, model, "l1")
    for budget in options.budgets:
        for how in HOWS:
            try:
                found = solve(graph, scores, {"latency": budget}, how=how, round_to=options.round_to, latency=timing)
            except BudgetError as error:
                yield f"| {name} @{size} | {budget:.0%} | {how} | – | {str(error).split('. ')[0]} | | | | |"
                continue
            yield row(f"{name} @{size}", budget, how, found, checked(found, timing, options.checks))


def row(name: str, budget: float, how: str, found: Allocation, shares: list[float]) -> str:
    """One solution; latencies as a share of the unpruned network's."""
    promise = found.latency
    assert promise is not None
    original = promise.original_ms
    kept = "" if median(shares) <= 1 + TOLERANCE else " **broken**"
    return (
        f"| {name} | {budget:.0%} = {promise.asked_ms:.3f} ms | {how} | {found.macs / found.original_macs:.0%} | "
        f"{promise.first_predicted_ms / original:.1%} | {_share(promise.first_measured)} | "
        f"{promise.num_corrections} | {_share(promise.measured)} | "
        f"{median(shares):.1%} ({min(shares):.1%}–{max(shares):.1%}){kept} |"
    )


def _share(measured: Measured | None) -> str:
    """Of the unpruned network's latency in the same run."""
    assert measured is not None
    return f"{measured.ms / measured.original_ms:.1%}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.8, 0.6])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checks", type=int, default=5)
    parser.add_argument("--arithmetic", choices=get_args(Mode), default="float32")
    parser.add_argument("--round-to", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    head = HEAD.format(checks=options.checks)
    print(f"{head}\n|{' --- |' * (head.count('|') - 1)}")
    for name in options.only:
        for line in rows(name, NETWORKS[name], options):
            print(line, flush=True)
    how = f"{options.arithmetic}, threads {options.threads}, batch 1"
    print(f"\n{cpu_name()}, {os.cpu_count()} cores, load {load()}, {how}.")


if __name__ == "__main__":
    main()
