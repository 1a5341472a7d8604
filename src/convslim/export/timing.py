"""`timing`: what an allocation must know to keep a latency budget, measured on this machine with ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from convslim.allocate.promise import Measured, Timing
from convslim.channels.graph import ChannelGraph
from convslim.errors import BudgetError, nearest
from convslim.export.arithmetic import ARITHMETICS, Arithmetic, Mode
from convslim.measure.kernels import profile_onnx
from convslim.measure.latency import summary
from convslim.measure.latency_model import LatencyModel, WholeTime
from convslim.measure.layer_table import LayerTable, OnStart, cache_folder
from convslim.measure.layer_times import LayerTimes
from convslim.measure.machine import Identity
from convslim.measure.one_layer import layer_ms
from convslim.measure.session import open_session, random_feeds
from convslim.measure.timed_layer import timed_layers
from convslim.measure.turns import time_in_turn
from convslim.surgery.plan import PruningPlan
from convslim.surgery.remove import rebuild

REPEATS = 200


def timing(
    graph: ChannelGraph,
    model: nn.Module,
    example_input: Tensor,
    *,
    threads: int = 1,
    batch: int = 1,
    arithmetic: Mode = "float32",
    on_start: OnStart | None = None,
) -> Timing:
    """Measure a network for a latency budget: the whole of it, and its layers in other widths.

    The network is exported and run in ONNX Runtime on the CPU. Layer shapes that were measured before on this
    machine come from the cache (:func:`convslim.measure.layer_table.cache_folder`).

    Args:
        graph: The channel graph of the model, for the same example input.
        model: The unpruned network, left as found.
        example_input: (N, C, H, W) images.
        threads: Intra-op threads.
        batch: Images a call.
        arithmetic: ``"float32"``, or ``"int8"``: an int8 file of the network, its layers in integer kernels.
        on_start: Gets the number of layer measurements to come, and returns what to call after each of them.

    Returns:
        For ``latency=`` of :func:`convslim.allocate`. It holds the network.

    Raises:
        BudgetError: There is no such arithmetic.
        ExportError: The network cannot be exported.
    """
    kind = _known(arithmetic)
    whole = WholeNetwork(model, example_input, threads, batch, kind)
    measure = partial(layer_ms, build=kind.layer, threads=threads)
    table = LayerTable(Identity.here(threads), kind.mode, measure, cache_folder())
    sizes = np.array([group.num_channels for group in graph.groups], np.int64)
    times = LayerTimes(timed_layers(graph, batch), sizes, partial(table.times, on_start=on_start))
    measured = whole.unpruned()
    setting = f"{table.identity.runtime}, {table.mode}, {threads} thread{'s' if threads > 1 else ''}, batch {batch}"
    return Timing(LatencyModel.calibrated(times, measured), measured.ms, whole.pruned, setting)


def _known(arithmetic: str) -> Arithmetic:
    for name, kind in ARITHMETICS.items():
        if name == arithmetic:
            return kind
    known = ", ".join(ARITHMETICS)
    raise BudgetError(f"There is no arithmetic {arithmetic!r}; known are {known}.{nearest(arithmetic, ARITHMETICS)}")


@dataclass(frozen=True, eq=False)
class WholeNetwork:
    """Latency of a network and of what plans leave of it: the 10th percentile of many calls.

    Attributes:
        model: The unpruned network.
        example_input: Images.
        threads: Intra-op threads.
        batch: Images a call.
        arithmetic: What it is timed in.
    """

    model: nn.Module
    example_input: Tensor
    threads: int = 1
    batch: int = 1
    arithmetic: Arithmetic = ARITHMETICS["float32"]

    @cached_property
    def _original(self) -> bytes:
        return self._exported(self.model)

    def unpruned(self) -> WholeTime:
        """The latency of the network, and how much of it convolutions and linear layers take."""
        kernels = profile_onnx(self._original, partial(random_feeds, batch=self.batch), threads=self.threads)
        total = sum(kernel.ms for kernel in kernels)
        share = sum(kernel.ms for kernel in kernels if kernel.is_layer) / total
        return WholeTime(self._quiet_ms({"original": self._original})["original"], share)

    def pruned(self, plan: PruningPlan) -> Measured:
        """The latency of what a plan leaves, and of the unpruned network in the same run."""
        files = {"pruned": self._exported(rebuild(self.model, plan)), "original": self._original}
        found = self._quiet_ms(files)
        return Measured(found["pruned"], found["original"])

    def _quiet_ms(self, files: Mapping[str, bytes]) -> dict[str, float]:
        """The 10th percentile: other work on the machine makes calls longer, never shorter."""
        calls = {}
        for name, content in files.items():
            session = open_session(content, self.threads)
            calls[name] = partial(session.run, None, dict(random_feeds(session, self.batch)))
        times = time_in_turn(calls, repeats=REPEATS)
        return {name: summary(values, self.batch, self.threads).p10_ms for name, values in times.items()}

    def _exported(self, model: nn.Module) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            self.arithmetic.export(model, self.example_input, path)
            return path.read_bytes()
