"""Candidates judged by making each of them: for networks whose tensors cannot be exchanged."""

from __future__ import annotations

import time
from functools import partial

import torch
from torch import Tensor, nn

from convslim.channels.graph import ChannelGraph
from convslim.channels.tape import ExampleInput, named_tensors
from convslim.search.evaluation import Evaluation
from convslim.search.evaluation_images import JudgingImages
from convslim.search.evaluation_pass import estimate_, first_outputs, measured, run, statistics_of, undrawn
from convslim.search.evaluation_refit import Readers
from convslim.search.evaluation_views import Precision
from convslim.surgery.plan import PruningPlan
from convslim.surgery.remove import remove


class RemovalEvaluator:
    """Judges candidates by `remove`, fresh BatchNorm statistics and what the images are measured by, all in float32.

    Attributes:
        precision: ``"32"``.
        reason: Why candidates are not judged on slices of one network's weights.
        readers: Give new weights to what reads removed channels; None leaves these as they are.

    Args:
        model: The network; left as it is.
        graph: Its channel graph.
        example_input: As for :func:`convslim.trace`.
        images: What candidates are shown.
        error: Probability with which a candidate may be given up that would have reached the wanted share.
        reason: To be reported.
    """

    precision: Precision = "32"

    def __init__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        example_input: ExampleInput,
        images: JudgingImages,
        *,
        error: float = 0.01,
        reason: str = "",
        readers: Readers | None = None,
    ) -> None:
        self.reason, self._readers = reason, readers
        self._model, self._graph, self._example_input = model, graph, example_input
        self._images = images.held_as(torch.float32, torch.contiguous_format)
        self._error = error

    def __call__(self, plan: PruningPlan, *, hopeless_below: float | None = None) -> Evaluation:
        """Judge one candidate.

        Raises:
            PlanError: If the plan was made for another network.
            VerificationError: If the smaller network is not the masked original.
            ModelError: If the network fails on the images, or gives what their task has no use for.
            DataError: If a target does not fit the network's outputs.
        """
        started = time.perf_counter()
        small = self._calibrated(plan)

        with undrawn(self._images.images.device):
            return measured(
                partial(run, small), self._images, hopeless_below=hopeless_below, error=self._error, started=started
            )

    def outputs(self, plan: PruningPlan) -> list[Tensor]:
        """The tensors that a candidate gives for the first batch of images, float32."""
        small = self._calibrated(plan)
        with undrawn(self._images.images.device):
            return first_outputs(partial(run, small), self._images)

    def _calibrated(self, plan: PruningPlan) -> nn.Module:
        small = remove(self._model, plan, self._example_input, graph=self._graph).eval()
        with undrawn(self._images.images.device):
            tensors = named_tensors(small)
            for name, tensor in ({} if self._readers is None else self._readers.weights(plan)).items():
                tensors[name].copy_(tensor)
            estimate_(statistics_of(small), partial(run, small), self._images.calibration)
        return small
