"""The steps of a recipe: for each one its configuration and the function that carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from convslim.pipeline.state import Outcome
from convslim.pipeline.steps.bench import BenchStep, run_bench
from convslim.pipeline.steps.evaluate import EvaluateStep, run_evaluate
from convslim.pipeline.steps.export import ExportStep, run_export
from convslim.pipeline.steps.prune import PruneStep, run_prune
from convslim.pipeline.steps.quantize import QuantizeStep, run_quantize
from convslim.pipeline.steps.recalibrate import RecalibrateStep, run_recalibrate
from convslim.pipeline.steps.reconstruct import ReconstructStep, run_reconstruct
from convslim.pipeline.steps.search import SearchStep, run_search
from convslim.pipeline.steps.select import SelectStep, run_select
from convslim.pipeline.steps.sparsify import SparsifyStep, run_sparsify
from convslim.pipeline.steps.train import run_train
from convslim.train import TrainConfig


class Step(NamedTuple):
    """A kind of step: `run(config, state, context) -> Outcome`, with an instance of `config`."""

    config: type[BaseModel]
    run: Callable[[Any, Any, Any], Outcome]


STEPS: Final[Mapping[str, Step]] = {
    "evaluate": Step(EvaluateStep, run_evaluate),
    "train": Step(TrainConfig, run_train),
    "sparsify": Step(SparsifyStep, run_sparsify),
    "prune": Step(PruneStep, run_prune),
    "search": Step(SearchStep, run_search),
    "select": Step(SelectStep, run_select),
    "reconstruct": Step(ReconstructStep, run_reconstruct),
    "recalibrate": Step(RecalibrateStep, run_recalibrate),
    "finetune": Step(TrainConfig, run_train),
    "quantize": Step(QuantizeStep, run_quantize),
    "export": Step(ExportStep, run_export),
    "bench": Step(BenchStep, run_bench),
}
"""The kinds of steps, by the names that recipes use."""
