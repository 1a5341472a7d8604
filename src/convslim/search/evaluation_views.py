"""Candidates judged on slices of one network's weights."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from convslim.bfloat16 import NarrowInFull
from convslim.channels.graph import ChannelGraph
from convslim.errors import PlanError
from convslim.search.evaluation import Evaluation
from convslim.search.evaluation_blocks import Blocks
from convslim.search.evaluation_fold import Folding, pairs_to_fold
from convslim.search.evaluation_images import JudgingImages
from convslim.search.evaluation_pass import estimate_, first_outputs, measured, run, statistics_of, undrawn
from convslim.search.evaluation_prefix import Prefixes, cuts_of
from convslim.search.evaluation_refit import Readers
from convslim.search.evaluation_shell import Shell
from convslim.search.evaluation_statistics import Estimating, is_plain, places_of
from convslim.surgery.plan import PruningPlan, make_plan

Precision = Literal["32", "bf16"]
_DTYPES = {"32": torch.float32, "bf16": torch.bfloat16}


class ViewEvaluator:
    """Judges candidates without making them: their tensors are slices, put into one copy of the network.

    BatchNorm statistics are the plain average over the calibration batches, each of which is normalized by its own
    statistics; then the BatchNorms are folded into their convolutions, and the images are judged. That is what
    `remove`, `recalibrate` and `evaluate` give one after the other.

    Attributes:
        precision: ``"32"`` or ``"bf16"``.
        reason: Why it computes in this way; empty if nothing was left out.

    Args:
        form: The network in the form that candidates are judged in: of its own class, or a graph; left as it is, and
            its weights are taken now.
        graph: The channel graph of that form.
        structure: Of the plans to be judged; where it is not that of `graph`, the groups have the same names.
        images: What candidates are shown; the first images should stand for all of them, see
            :meth:`~convslim.search.evaluation_images.JudgingImages.shuffled`.
        precision: Of what is computed; statistics are float32 in any case.
        layout: Of images and weights in memory.
        fused: Whether chains of a graph are one operation each, see :mod:`convslim.search.evaluation_blocks`.
        error: Probability with which a candidate may be given up that would have reached the wanted share.
        reason: To be reported.
        readers: Give new weights to what reads removed channels; None leaves these as they are.
        keep: Keep activations of first layers for candidates that share them, see
            :mod:`convslim.search.evaluation_prefix`; they are kept where all BatchNorms are fused.
    """

    def __init__(
        self,
        form: nn.Module,
        graph: ChannelGraph,
        images: JudgingImages,
        *,
        structure: str = "",
        precision: Precision = "32",
        layout: torch.memory_format = torch.channels_last,
        fused: bool = False,
        error: float = 0.01,
        reason: str = "",
        readers: Readers | None = None,
        keep: bool = True,
    ) -> None:
        assert graph.evidence is not None, "a traced graph has evidence"
        self.precision: Precision = precision
        self.reason = reason
        self._shell = Shell(form, graph, _DTYPES[precision], layout)
        pairs = pairs_to_fold(graph.evidence.tape, self._shell.network)
        self._norms = statistics_of(self._shell.network)
        self._blocks = Blocks(self._shell, pairs if fused else ())
        self._folding = Folding(self._shell, [pair for pair in pairs if pair not in self._blocks.pairs])
        inside = {pair.norm for pair in self._blocks.pairs}
        named = dict(self._shell.network.named_modules())
        plain = [norm for norm in self._norms if is_plain(norm) and not any(norm is named[name] for name in inside)]
        self._estimating = [Estimating(norm) for norm in plain]
        self._places = places_of(self._shell.network, plain)
        cuts = cuts_of(self._shell, self._blocks) if keep and len(inside) == len(self._norms) else []
        self._prefixes = Prefixes(self._shell, self._blocks, cuts) if cuts else None
        self._images = images.held_as(_DTYPES[precision], layout)
        self._graph, self._structure = graph, structure or graph.structure
        self._error, self._readers = error, readers

    def __call__(self, plan: PruningPlan, *, hopeless_below: float | None = None) -> Evaluation:
        """Judge one candidate.

        Raises:
            PlanError: If the plan was made for another network.
            ModelError: If the network fails on the images, or gives what their task has no use for.
            DataError: If a target does not fit the network's outputs.
        """
        started = time.perf_counter()
        with self._candidate(plan):
            return measured(self._run, self._images, hopeless_below=hopeless_below, error=self._error, started=started)

    def outputs(self, plan: PruningPlan) -> list[Tensor]:
        """The tensors that a candidate gives for the first batch of images, float32."""
        with self._candidate(plan):
            return first_outputs(self._run, self._images)

    @contextmanager
    def _candidate(self, plan: PruningPlan) -> Iterator[None]:
        """The candidate, with its statistics and folded, for a while."""
        if plan.structure != self._structure:
            raise PlanError(
                f"The plan was made for another network (structure {plan.structure[:12]}, candidates here have "
                f"{self._structure[:12]}). Make it from the graph that the evaluator was made with."
            )
        if plan.structure != self._graph.structure:
            plan = make_plan(self._graph, {name: plan.kept[name] for name in plan.removed})
        with undrawn(self._images.images.device):
            self._folding.undo_()
            self._shell.put_(plan, {} if self._readers is None else self._readers.weights(plan))
            self._blocks.begin_()
            self._estimate_(plan)
            self._blocks.end_()
            self._folding.do_()
            if self._prefixes is not None:
                self._prefixes.judge_()
            yield

    def _estimate_(self, plan: PruningPlan) -> None:
        if self._prefixes is not None:
            self._prefixes.begin_(plan)
        for children, leaf, number in self._places:
            self._estimating[number].begin_()
            children[leaf] = self._estimating[number]
        estimate_(self._norms, self._run, self._images.calibration)
        for children, leaf, number in self._places:
            self._estimating[number].end_()
            children[leaf] = self._estimating[number].norm
        if self._prefixes is not None:
            self._prefixes.put_back_()

    def _run(self, images: Tensor) -> Any:
        with NarrowInFull():  # which slows down what is not the network's, such as the choice of boxes
            return run(self._shell.network, images, self._prefixes)
