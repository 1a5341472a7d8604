"""A process for the tool: one that hangs, or takes the interpreter down, loses one case and no more."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from convslim.conformance.case import Case
from convslim.conformance.cases import CASES
from convslim.conformance.referee import Judgment, Verdict, judge
from convslim.conformance.tool import open_tool

LIMIT = 20.0
START_LIMIT = 300.0


@dataclass(frozen=True)
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection

    def stop(self) -> None:
        """Ask it to end, and see to it."""
        if self.process.is_alive():
            self.connection.send(None)
        self.process.join(timeout=5)
        self.process.kill()
        self.process.join()
        self.connection.close()


def judge_apart(spec: str, cases: Sequence[Case], limit: float = LIMIT) -> Iterator[Judgment]:
    """Judge a tool, one case after the other, in a process that is replaced when a case has been its end.

    Args:
        spec: The tool, as for :func:`convslim.conformance.tool.open_tool`.
        cases: Cases of the table.
        limit: Seconds for one case.
    """
    worker = None
    try:
        for case in cases:
            worker = worker or _start(spec)
            judgment = _ask(worker, case.name, limit)
            if judgment.verdict is Verdict.TIMEOUT:
                worker.process.kill()
            if not worker.process.is_alive() or judgment.verdict is Verdict.TIMEOUT:
                worker.stop()
                worker = None
            yield judgment
    finally:
        if worker is not None:
            worker.stop()


def _start(spec: str) -> _Worker:
    context = multiprocessing.get_context("spawn")
    own, other = context.Pipe()
    process = context.Process(target=_work, args=(spec, other), daemon=True)
    process.start()
    other.close()
    worker = _Worker(process, own)
    if own.poll(START_LIMIT):
        own.recv()
    return worker


def _ask(worker: _Worker, name: str, limit: float) -> Judgment:
    try:
        worker.connection.send(name)
        if not worker.connection.poll(limit):
            return Judgment(Verdict.TIMEOUT, f"no answer after {limit:g} s")
        verdict, reason = worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join(timeout=5)
        return Judgment(Verdict.CRASH, f"the process ended with exit code {worker.process.exitcode}")
    return Judgment(Verdict(verdict), reason)


def _work(spec: str, connection: Connection) -> None:
    torch.set_num_threads(1)
    tool, cases = open_tool(spec), {case.name: case for case in CASES}
    connection.send("ready")
    while (name := connection.recv()) is not None:
        judgment = judge(cases[name], tool)
        connection.send((judgment.verdict.value, judgment.reason))
