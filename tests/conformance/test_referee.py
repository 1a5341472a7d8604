"""Every verdict, reached by a small tool that deserves it."""

import copy
import re
from typing import Any

import pytest
import torch
from torch import nn

from convslim.conformance import CASES, Answer, Case, Task, Tool, Verdict, judge
from convslim.conformance.referee import difference_of

TABLE = {case.name: case for case in CASES}
KEPT = [0, 1, 2, 3, 5, 7, 8, 9, 11, 12, 13, 15]


def slice_(module: Any, dim: int, kept: list[int], name: str = "weight") -> None:
    setattr(module, name, nn.Parameter(getattr(module, name).detach().index_select(dim, torch.tensor(kept))))


def cut_a(model: Any, filters: list[int] = KEPT, columns: list[int] = KEPT) -> nn.Module:
    """Cut `a` of the case `plain`: filters, everything of the BatchNorm, columns of `b`."""
    slice_(model.a.conv, 0, filters)
    norm = model.a.norm
    slice_(norm, 0, filters)
    slice_(norm, 0, filters, "bias")
    norm.running_mean, norm.running_var = norm.running_mean[filters], norm.running_var[filters]
    slice_(model.b.conv, 1, columns)
    return model


def cut_normalized(model: Any, task: Task, approximate: str = "") -> Answer:
    """Cut the case `layer_norm_2d`, whose statistics then change."""
    slice_(model.a, 0, KEPT)
    slice_(model.a, 0, KEPT, "bias")
    for name in ("weight", "bias"):
        slice_(model.middle, 0, KEPT, name)
    model.middle.normalized_shape = (len(KEPT),)
    slice_(model.head, 1, KEPT)
    return Answer(model, approximate)


def cut_heads(model: Any, task: Task, approximate: str = "") -> Answer:
    """Cut the case `library_heads`, 6 of 8 channels of both heads, whose scale is computed from their number."""
    kept, attention = [0, 1, 3, 4, 5, 7, 8, 10, 11, 12, 13, 15], model.attention
    three = [part * 16 + channel for part in range(3) for channel in kept]
    for name in ("weight", "bias"):
        slice_(model.a.norm, 0, kept, name)
        slice_(attention, 0, three, f"in_proj_{name}")
        slice_(attention.out_proj, 0, kept, name)
    slice_(model.a.conv, 0, kept)
    model.a.norm.running_mean, model.a.norm.running_var = (
        model.a.norm.running_mean[kept],
        model.a.norm.running_var[kept],
    )
    slice_(attention, 1, kept, "in_proj_weight")
    slice_(attention.out_proj, 1, kept)
    attention.embed_dim = attention.kdim = attention.vdim = 12
    attention.head_dim = 6
    slice_(model.head, 1, kept)
    return Answer(model, approximate)


def other_channels(model: nn.Module, task: Task) -> Answer:
    return Answer(cut_a(model, columns=[*range(12)]))


def other_order(model: nn.Module, task: Task) -> Answer:
    return Answer(cut_a(model, KEPT[::-1], KEPT[::-1]))


def changed_weights(model: Any, task: Task) -> Answer:
    cut_a(model)
    with torch.no_grad():
        model.head.weight.mul_(1.001)
    return Answer(model)


def raises(model: nn.Module, task: Task) -> Answer:
    raise IndexError("list index out of range")


def half_done(model: Any, task: Task) -> Answer:
    slice_(model.a.conv, 0, KEPT)
    return Answer(model)


def shifted(model: nn.Module, task: Task) -> Answer:
    cut_a(model)
    model.register_forward_hook(lambda module, args, output: output + 0.1)
    return Answer(model)


def only_b(model: Any, task: Task, refused: str = "") -> Answer:
    """Cut `b` of the case `plain`, and leave its target alone."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = getattr(model.b.norm, name).detach()[:8]
        setattr(model.b.norm, name, nn.Parameter(tensor) if name in ("weight", "bias") else tensor)
    slice_(model.b.conv, 0, [*range(8)])
    slice_(model.head, 1, [*range(8)])
    return Answer(model, refused={"a.conv": refused} if refused else {})


PLAIN: dict[str, tuple[Any, Verdict, str]] = {
    "right": (lambda model, task: Answer(cut_a(model)), Verdict.EXACT, "^$"),
    "right in another order": (other_order, Verdict.EXACT, "^$"),
    "right, and needlessly careful": (lambda model, task: Answer(cut_a(model), "who knows"), Verdict.EXACT, ""),
    "reads other channels": (other_channels, Verdict.WRONG, "differs by"),
    "changes weights": (changed_weights, Verdict.WRONG, r"head\.weight holds values that the original does not have"),
    "adds a constant": (shifted, Verdict.WRONG, "differs by"),
    "raises": (raises, Verdict.CRASH, "the tool raises IndexError: list index out of range"),
    "leaves a broken model": (half_done, Verdict.CRASH, "the smaller model raises RuntimeError"),
    "refuses": (lambda model, task: Answer(None, refused={"": "too hard"}), Verdict.REFUSED, "^too hard$"),
    "does nothing": (lambda model, task: Answer(model), Verdict.UNCHANGED, "a.conv stay"),
    "gives nothing": (lambda model, task: Answer(None), Verdict.UNCHANGED, "nothing says why"),
    "changes outputs and cuts nothing": (
        lambda model, task: Answer(nn.Sequential(model, nn.Tanh()).eval()),
        Verdict.WRONG,
        "differs",
    ),
    "cuts elsewhere": (only_b, Verdict.UNCHANGED, "a.conv stay"),
    "cuts elsewhere and says why": (lambda model, task: only_b(model, task, "held"), Verdict.REFUSED, "^held$"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain(name: str) -> None:
    tool, verdict, reason = PLAIN[name]
    judgment = judge(TABLE["plain"], tool)
    assert judgment.verdict is verdict, judgment
    assert re.search(reason, judgment.reason)


@pytest.mark.parametrize(("said", "verdict"), [("statistics", Verdict.APPROXIMATE), ("", Verdict.UNDECLARED)])
def test_normalization_over_what_is_left_must_be_said(said: str, verdict: Verdict) -> None:
    judgment = judge(TABLE["layer_norm_2d"], lambda model, task: cut_normalized(model, task, said))
    assert judgment.verdict is verdict, judgment


@pytest.mark.parametrize(("said", "verdict"), [("scale", Verdict.APPROXIMATE), ("", Verdict.UNDECLARED)])
def test_a_scale_that_one_fused_operation_computes_from_the_width_is_known(said: str, verdict: Verdict) -> None:
    judgment = judge(TABLE["library_heads"], lambda model, task: cut_heads(model, task, said))
    assert judgment.verdict is verdict, judgment


def test_saying_so_does_not_help_a_wrong_model() -> None:
    def careless(model: Any, task: Task) -> Answer:
        answer = cut_normalized(model, task, "statistics")
        slice_(model.head, 1, [*reversed(range(12))])
        return answer

    assert judge(TABLE["layer_norm_2d"], careless).verdict is Verdict.WRONG


def test_every_verdict_but_the_worker_s_is_reached() -> None:
    reached = {verdict for _, verdict, _ in PLAIN.values()} | {Verdict.APPROXIMATE, Verdict.UNDECLARED}
    assert reached | {Verdict.TIMEOUT} == set(Verdict)


def test_the_tool_s_copy_is_not_what_it_is_compared_with() -> None:
    seen = []

    def spoil(model: Any, task: Task) -> Answer:
        seen.append(copy.deepcopy(model))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        return Answer(model)

    assert judge(TABLE["plain"], spoil).verdict is Verdict.WRONG
    assert torch.equal(seen[0].head.weight, fresh_head(TABLE["plain"]))


def fresh_head(case: Case) -> torch.Tensor:
    weights = []

    def look(model: Any, task: Task) -> Answer:
        weights.append(model.head.weight)
        return Answer(None)

    tool: Tool = look
    judge(case, tool)
    return weights[0]


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        (torch.ones(2), torch.ones(2), ""),
        (torch.ones(2), torch.ones(3), r"shape \(2,\) instead of \(3,\)"),
        (torch.tensor([1.0, torch.nan]), torch.ones(2), "differs by nan"),
        ({"a": torch.ones(2)}, [torch.ones(2)], "another structure"),
        ((torch.ones(2), 3), (torch.ones(2), 4), "output 1 is 3 instead of 4"),
        (torch.ones(2) * 1.00001, torch.ones(2), ""),
        (torch.ones(2) * 1.001, torch.ones(2), "differs by 0.001"),
    ],
)
def test_differences_in_words(found: Any, expected: Any, words: str) -> None:
    difference = difference_of(found, expected)
    assert re.search(words, difference)
    assert bool(difference) == bool(words)
