"""What one process finds out about one network: traced, half of its channels removed, proven, left as found."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import convslim
from convslim.channels.graph import ChannelGraph
from convslim.channels.tape import as_arguments, output_tensors
from convslim.channels.undisturbed import undisturbed
from convslim.criteria import Scores
from convslim.surgery import carry_out
from coverage_subject import build, changes, fitting, state_of

Tell = Callable[[dict[str, Any]], None]
MIB = 2**20
SINGLE = "everything is coupled into a single channel"
OUTPUT = "the channels are an output of the network"


def measure(spec: str, gibibytes: float, tell: Tell) -> None:
    """Tell everything about a network, in parts, as soon as they are known; an error of convslim is a part too."""
    resource.setrlimit(resource.RLIMIT_AS, (int(gibibytes * 2**30), resource.RLIM_INFINITY))
    torch.set_num_threads(1)
    stage = "build"

    def enter(name: str) -> None:
        nonlocal stage
        stage = name
        tell({"stage": name})

    try:
        _stages(spec, enter, tell)
    except Exception as error:
        tell({"error": _failure(stage, error)})


def _stages(spec: str, enter: Callable[[str], None], tell: Tell) -> None:
    enter("build")
    model = build(spec)
    size, example, whole = fitting(spec, model, forward)
    tell({"class": type(model).__name__, "size": size})
    tell(_forward_facts(model, example))
    before = state_of(model)
    enter("trace")
    graph, seconds, peak = watched(lambda: convslim.trace(model, example))
    tell({"trace_s": seconds, "trace_mib": peak, "changed_by_trace": changes(before, state_of(model))[:5]})
    tell(groups_of(graph))
    enter("score")
    scores, seconds, _ = watched(lambda: convslim.score(graph, model, "l1"))
    tell({"score_s": seconds, "unscored": len(scores.unscored)})
    kept = best_half(graph, scores)
    tell(_costs(graph, kept))
    enter("plan")
    plan, seconds, _ = watched(lambda: convslim.make_plan(graph, kept))
    tell({"plan_s": seconds})
    enter("remove")
    removal, seconds, peak = watched(lambda: carry_out(model, plan, example, graph=graph))
    proof = removal.certificate
    tell({"remove_s": seconds, "remove_mib": peak, "relative_error": proof.relative_error})
    tell({"operations": proof.num_operations, "outputs": proof.num_outputs, "kind": type(removal.model).__name__})
    tell({"changed_by_remove": changes(before, state_of(model))[:5]})
    enter("run")
    tell({"change": _change(whole, forward(removal.model, example))})
    tell({"params_found": sum(p.numel() for p in removal.model.parameters())})
    enter("done")


def forward(model: nn.Module, example: Any) -> Any:
    """The output in evaluation mode."""
    arguments, keywords = as_arguments(example)
    with undisturbed(model):
        return model(*arguments, **keywords)


def watched(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, seconds of processor time (one thread), and by how many MiB the process grew at most meanwhile."""
    _return_free_memory()
    before = _memory("VmRSS")
    _forget_peak()
    start = time.process_time()
    result = work()
    return result, round(time.process_time() - start, 3), round((_memory("VmHWM") - before) / MIB, 1)


def _return_free_memory() -> None:
    """What was freed before goes back to the system, so that using it again counts."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # not the GNU C library
        ctypes.CDLL(None).malloc_trim(0)


def _memory(line: str) -> int:
    """Bytes that the system counts for this process."""
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(entry.split()[1] for entry in status if entry.startswith(f"{line}:")))


def _forget_peak() -> None:
    """Let the peak start again from what is in use."""
    Path("/proc/self/clear_refs").write_text("5")


def _forward_facts(model: nn.Module, example: Any) -> dict[str, Any]:
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    _, seconds, peak = watched(lambda: forward(model, example))
    return {"forward_s": seconds, "forward_mib": peak, "weights_mib": round(weights / MIB, 1)}


def groups_of(graph: ChannelGraph) -> dict[str, Any]:
    """Groups, channels, and what pins them; a group counts once, under the first reason that is not the output."""
    reasons: Counter[str] = Counter()
    samples: dict[str, str] = {}
    open_groups = [group for group in graph.prunable if group.num_channels > 1]
    for group in graph.groups:
        if group not in open_groups:
            pin = next((pin for pin in group.pins if pin.reason != OUTPUT), None) or next(iter(group.pins), None)
            reason = pin.reason if pin else SINGLE
            reasons[reason] += 1
            samples.setdefault(reason, f"{group.name}: {pin or '; '.join(group.constraints)}")
    rough = [group for group in open_groups if group.approximations]
    return {
        "way": graph.way,
        "way_reason": graph.way_reason,
        "groups": len(graph.groups),
        "prunable": len(open_groups),
        "channels": sum(group.num_channels for group in graph.groups),
        "prunable_channels": sum(group.num_channels for group in open_groups),
        "approximate": len(rough),
        "approximations": dict(Counter(group.approximations[0].reason for group in rough).most_common(3)),
        "pins": dict(reasons.most_common()),
        "pin_samples": [samples[reason] for reason, _ in reasons.most_common()],
        "unused": len(graph.unused),
        "notes": list(graph.notes),
    }


def best_half(graph: ChannelGraph, scores: Scores) -> dict[str, list[int]]:
    """The better half of every prunable group; of a group that has no scores, the first half."""
    kept = {}
    for group in graph.prunable:
        values = scores.values.get(group.name, -np.arange(group.num_channels))
        best = np.argsort(-values, kind="stable")[: (group.num_channels + 1) // 2]
        kept[group.name] = sorted(int(index) for index in best)
    return kept


def _costs(graph: ChannelGraph, kept: dict[str, list[int]]) -> dict[str, Any]:
    model = convslim.CostModel(graph)
    counts = {name: len(indices) for name, indices in kept.items()}
    return {
        "macs": model.macs(),
        "macs_left": model.macs(counts),
        "params": model.params(),
        "params_left": model.params(counts),
    }


def _change(whole: Any, half: Any) -> float:
    """By how much the cut changes the output, relative to its largest value: a proof needs something to prove."""
    most = 0.0
    for before, after in zip(output_tensors(whole), output_tensors(half), strict=True):
        if before.shape == after.shape and before.is_floating_point() and before.numel():
            most = max(most, float((before - after).abs().max() / before.abs().max().clamp(min=1e-30)))
    return most


def _failure(stage: str, error: Exception) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    cause = error.__cause__
    inner = traceback.extract_tb(cause.__traceback__)[-4:] if cause is not None else []
    return {
        "stage": stage,
        "type": type(error).__name__,
        "message": str(error)[:600],
        "where": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-5:]],
        "cause": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in inner],
    }
