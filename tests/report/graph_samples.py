"""Channel graphs as records: one of a real network, one with everything that a page can meet, some of it hostile."""

from __future__ import annotations

import functools
from typing import Any

import torch

import convslim
from convslim.report import GraphRecord, graph_record

HOSTILE = '<img src=x onerror="pwned=1">&\'</script><script>pwned=1</script>'


@functools.cache
def digits() -> GraphRecord:
    """The record of `digits_cnn`."""
    model = convslim.models.create("digits_cnn")
    return graph_record(convslim.trace(model, torch.zeros(1, 1, 8, 8)), "digits_cnn")


def group(name: str, producers: list[str], consumers: list[str], **facts: Any) -> dict[str, Any]:
    """A group of eight channels as JSON data."""
    axes = [{"tensor": f"{module}.weight", "dim": 0, "role": "out", "multiplicity": 1} for module in producers]
    known = {"channels": 8, "prunable": True, "exact": True, "macs": 300, "params": 72, "axes": axes}
    return {"name": name, "producers": producers, "consumers": consumers, **known, **facts}


def everything() -> GraphRecord:
    """Six groups: a trunk that a block returns to, one that reads itself, all states, constraints, hostile names."""
    place = {"reason": f"fixed {HOSTILE}", "operation": "aten.view", "module": HOSTILE, "source": f"{HOSTILE}.py:7"}
    normal = {"reason": "layer normalization runs over the channels", "module": "norm", "source": "net.py:3"}
    groups = [
        group("trunk", ["stem", "b.2", "same"], ["b.1", "same", "wide", HOSTILE]),
        group("b.1", ["b.1"], ["b.2"], exact=False, approximations=[normal]),
        group("wide", ["wide"], ["head"], channels=4096, constraints=["4 channels go together"]),
        group(HOSTILE, [HOSTILE], ["head"], prunable=False, pins=[place]),
        group("twice", ["twice"], [], prunable=False, pins=[place, {**place, "module": "other"}]),
        group("head", ["head"], [], prunable=False, pins=[{"reason": "the channels are an output"}], macs=0),
    ]
    layers = [
        {"module": name, "operation": "aten.convolution", "macs": 150, "params": 72}
        for name in ("stem", "b.1", "b.2", "same", "wide", HOSTILE, "twice", "head", "")
    ]
    return GraphRecord.model_validate(
        {
            "model": HOSTILE,
            "structure": "0" * 64,
            "way": "graph",
            "way_reason": f"numbers in the code hold 8 channels back ({HOSTILE})",
            "macs": 1200,
            "macs_prunable": 900,
            "params": 600,
            "groups": groups,
            "layers": layers,
            "unused": [HOSTILE],
            "notes": [f"note {HOSTILE}"],
        }
    )
