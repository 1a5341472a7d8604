"""The verdict on a tool's answer, which is computed and does not depend on what the tool says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten

from convslim.conformance.case import Case, Example, call, fresh
from convslim.conformance.kept import find_kept, untied, width_of
from convslim.conformance.reference import numbers_of, run_reference
from convslim.conformance.tool import Answer, Tool, task_of

TOLERANCE = 1e-4
SEEDS = (7, 8)


class Verdict(StrEnum):
    """What a tool did in a case."""

    EXACT = "exact"
    APPROXIMATE = "approximate"
    UNDECLARED = "undeclared"
    REFUSED = "refused"
    UNCHANGED = "unchanged"
    WRONG = "wrong"
    CRASH = "crash"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Judgment:
    """A verdict, and a sentence on why."""

    verdict: Verdict
    reason: str = ""


def judge(case: Case, tool: Tool) -> Judgment:
    """Ask a tool, and judge its answer; whatever it raises is a crash."""
    try:
        answer = tool(fresh(case), task_of(case))
    except Exception as error:
        return Judgment(Verdict.CRASH, f"the tool raises {_brief(error)}")
    return judge_answer(fresh(case), answer, [case.example(3, seed) for seed in SEEDS], case.target)


def judge_answer(original: nn.Module, answer: Answer, examples: Sequence[Example], target: str) -> Judgment:
    """Compare a smaller model with what the original gives without the channels that are gone.

    Args:
        original: The network, untouched, in evaluation mode.
        answer: What the tool made of a copy.
        examples: Inputs to compare on.
        target: The layer or parameter whose channels were to be removed.
    """
    small = answer.model
    if small is None:
        return _left_alone(answer, target)
    try:
        found = [_quietly(partial(call, small, example)) for example in examples]
    except Exception as error:
        return Judgment(Verdict.CRASH, f"the smaller model raises {_brief(error)}")
    kept = find_kept(original, small)
    if kept.foreign:
        return Judgment(Verdict.WRONG, f"{kept.foreign[0]} holds values that the original does not have")
    judgment = _compare(untied(original, kept), small, examples, found, kept.masks)
    if judgment.verdict is Verdict.WRONG or narrowed(original, small, target):
        return _declared(judgment, answer)
    return _left_alone(answer, target)


def narrowed(original: nn.Module, pruned: nn.Module, target: str) -> bool:
    """True if a layer, or raw parameter, makes fewer channels than before."""
    return width_of(pruned, target) < width_of(original, target)


def _left_alone(answer: Answer, target: str) -> Judgment:
    reason = answer.reason_for(target)
    if reason:
        return Judgment(Verdict.REFUSED, reason)
    return Judgment(Verdict.UNCHANGED, f"the channels of {target} stay, and nothing says why")


def _declared(judgment: Judgment, answer: Answer) -> Judgment:
    if judgment.verdict is Verdict.UNDECLARED and answer.approximate:
        return Judgment(Verdict.APPROXIMATE, answer.approximate)
    return judgment


def _compare(
    original: nn.Module,
    small: nn.Module,
    examples: Sequence[Example],
    found: Sequence[Any],
    masks: Mapping[str, Tensor],
) -> Judgment:
    """Exact, else renormalized, else wrong."""
    difference = ""
    for output, example in zip(found, examples, strict=True):
        exact = _quietly(partial(run_reference, original, example, masks, renormalize=False))
        difference = difference or difference_of(output, exact)
    if not difference:
        return Judgment(Verdict.EXACT)
    for output, example in zip(found, examples, strict=True):
        numbers = _quietly(partial(numbers_of, small, example))
        renormalized = _quietly(partial(run_reference, original, example, masks, renormalize=True, numbers=numbers))
        if difference_of(output, renormalized):
            return Judgment(Verdict.WRONG, difference)
    return Judgment(Verdict.UNDECLARED, f"normalized by what was kept, and nothing says so: {difference}")


@torch.no_grad()
def _quietly(run: Callable[[], Any]) -> Any:
    """A result; all runs draw the same random numbers and keep their attention in single operations."""
    with _plain_attention(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return run()


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Fused attention hides what it does to the channels, and which scale it takes from their number."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def difference_of(found: Any, expected: Any) -> str:
    """Where two nested outputs differ, in words; empty if they agree."""
    (found_leaves, found_spec), (leaves, spec) = tree_flatten(found), tree_flatten(expected)
    if found_spec != spec:
        return "the output has another structure"
    for number, (one, other) in enumerate(zip(found_leaves, leaves, strict=True)):
        if not isinstance(other, Tensor):
            if one != other:
                return f"output {number} is {one!r} instead of {other!r}"
        elif one.shape != other.shape:
            return f"output {number} has shape {tuple(one.shape)} instead of {tuple(other.shape)}"
        else:
            error = float((one - other).abs().max() / other.abs().max().clamp(min=1e-6))
            if not error <= TOLERANCE:
                return f"output {number} differs by {error:.2g} of its largest value"
    return ""


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200]
