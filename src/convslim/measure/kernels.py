"""Where the time of an ONNX file goes: the kernels that ONNX Runtime runs after its optimizations, one by one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from convslim.errors import ArtifactError
from convslim.measure.kernel_layers import LAYERS, LayerNames
from convslim.measure.session import Feeds, open_session

SUFFIX: Final = "_kernel_time"
INTEGERS: Final = frozenset({"int8", "uint8"})
CONVERSIONS: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True)
class Kernel:
    """One node of the optimized graph.

    Attributes:
        node: The node's name.
        operation: The kernel, for example ``QLinearConv``; ONNX Runtime's own have no page in ONNX.
        ms: Milliseconds of one run: the mean of the faster half of the runs.
        input_type: Element type of the first input.
        output_shape: Of the first output; channels may be padded to the blocks that the kernel works on.
        layer: Dotted name of the layer that it computes, alone or with what follows it; empty for other kernels.
    """

    node: str
    operation: str
    ms: float
    input_type: str
    output_shape: tuple[int, ...]
    layer: str = ""

    @property
    def integer(self) -> bool:
        """True if it computes on 8-bit integers."""
        return self.input_type in INTEGERS and self.operation not in CONVERSIONS

    @property
    def is_layer(self) -> bool:
        """True for convolutions and linear layers."""
        return self.operation in LAYERS


def profile_onnx(
    model: str | Path | bytes,
    feeds: Feeds | Callable[[Any], Feeds],
    *,
    threads: int = 1,
    repeats: int = 50,
    warmup: int = 5,
) -> tuple[Kernel, ...]:
    """Time every kernel of an ONNX file, in the order in which they run.

    What it does not count: the time between kernels, the call itself, and copies. The profiler writes whole
    microseconds and takes a little time of its own, so that very small kernels look slower than they are.

    Args:
        model: a file, or its content.
        feeds: input by name, or a function that makes it for the session.
        repeats: runs that count, after `warmup` that do not.

    Raises:
        ArtifactError: the file is missing, no ONNX model, or does not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(model, threads, profile=Path(folder) / "profile")
        values = feeds(session) if callable(feeds) else feeds
        try:
            for _ in range(warmup + repeats):
                session.run(None, dict(values))
        except Exception as error:  # ONNX Runtime's exception classes share no base but Exception
            raise ArtifactError(f"ONNX Runtime cannot run the model to be profiled: {error}") from error
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    names = LayerNames(model)
    return tuple(
        replace(kernel, layer=names.layer(kernel.node)) if kernel.is_layer else kernel
        for kernel in kernels(events, warmup)
    )


def kernels(events: list[dict[str, Any]], warmup: int) -> tuple[Kernel, ...]:
    """The kernels in the events of ONNX Runtime's profiler; each one's first `warmup` runs do not count."""
    times: dict[str, list[float]] = {}
    first: dict[str, dict[str, Any]] = {}
    for event in events:
        name = event.get("name", "")
        if event.get("cat") == "Node" and name.endswith(SUFFIX):
            node = name.removesuffix(SUFFIX)
            first.setdefault(node, event["args"])
            times.setdefault(node, []).append(float(event["dur"]))
    return tuple(_kernel(node, args, times[node][warmup:]) for node, args in first.items())


def _kernel(node: str, args: dict[str, Any], microseconds: list[float]) -> Kernel:
    input_type, _ = _first_tensor(args.get("input_type_shape"))
    _, output_shape = _first_tensor(args.get("output_type_shape"))
    faster = np.sort(microseconds)[: (len(microseconds) + 1) // 2]
    # The profiler cuts microseconds off: on average half of one is missing.
    return Kernel(node, args["op_name"], (float(faster.mean()) + 0.5) / 1000, input_type, output_shape)


def _first_tensor(described: Any) -> tuple[str, tuple[int, ...]]:
    """Type and shape of the first of `[{"float": [1, 3, 32, 32]}, …]`."""
    for entry in described or ():
        for kind, shape in entry.items():
            return str(kind), tuple(shape)
    return "", ()
