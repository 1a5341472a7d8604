"""Channel self-selection: train coefficients under guidance, cut softly, cut for good, go on."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from convslim.allocate.names import kept_whole
from convslim.channels.graph import ChannelGraph
from convslim.channels.trace import trace
from convslim.data import DataSource
from convslim.distill import Guidance
from convslim.errors import TrainingError
from convslim.sparsity.mask import MaskedNetwork
from convslim.sparsity.mask_descent import DescentRule, MaskDescent
from convslim.sparsity.mask_places import MaskPlaces, mask_places
from convslim.sparsity.mask_steering import BudgetSteering
from convslim.surgery import PruningPlan, load, save
from convslim.surgery.artifact import MANIFEST, PLAN, RECORD
from convslim.train.config import TrainConfig
from convslim.train.devices import connect
from convslim.train.hard_cut import HardCut, hard_cut, require_reachable
from convslim.train.history import CHECKPOINT, EpochMetrics
from convslim.train.loop import FitResult, fit
from convslim.train.mask_observer import MaskObserver
from convslim.train.select_rule import RAMP, SelectRule

Way = Literal["class", "graph"]
Guide = Callable[[nn.Module, str], Guidance | None]


@dataclass(frozen=True, eq=False)
class Selected:
    """What a selection gave.

    Attributes:
        model: The smaller network, trained to the end.
        plan: Its cut, all rounds together; None if no channel went.
        history: Metrics of all epochs.
        rounds: Facts of every round: epochs, live and kept channels, the proof.
    """

    model: nn.Module
    plan: PruningPlan | None
    history: tuple[EpochMetrics, ...]
    rounds: tuple[Mapping[str, Any], ...]


def select(
    model: nn.Module,
    source: DataSource,
    config: TrainConfig,
    rule: SelectRule,
    guide: Guide,
    *,
    out: Path,
    ways: Sequence[Way] = ("class",),
    approximate: bool = True,
    quiet: bool = False,
) -> Selected:
    """Let a network select its channels while it trains; the given one stays as it is.

    Every round multiplies the channels by coefficients, trains both under the penalty λ·Σ|m| until the same channels
    were cut for some epochs, removes these, and folds the other coefficients into the layers. Rounds follow each
    other while channels go and `rule` allows. The epochs that are left train the smaller network, guided all along.
    Called again with the same folder it goes on after the last finished epoch; on a CPU to the same bits.

    Args:
        config: The training; its schedule runs over all rounds.
        guide: Makes the guidance for a network, whose own modules' names start with the given prefix; may give None.
        out: Folder of checkpoints and of what the rounds gave.
        ways, approximate: As for `convslim.trace`; a network that was cut in its class stays in it. A graph has no
            feature maps to guide by.
        quiet: Draw no progress bars.

    Raises:
        TrainingError: The training fails, or keeps a moving average of the weights.
        ModelError: No channels can have coefficients.
        BudgetError: The budget cannot be reached.

    References:
        Patent publication CN109993302A, South China University of Technology (Guo and Chen): convolutional neural
        network channel self-selection compression and acceleration method based on knowledge transfer.
    """
    if config.ema_decay is not None:
        raise TrainingError(
            "Self-selection keeps no moving average: averaged coefficients are never zero. Leave out ema_decay, and "
            "set it in a finetune step behind."
        )
    work = _Work(source, config, rule, guide, out, approximate, quiet)
    history: list[EpochMetrics] = []
    rounds: list[Mapping[str, Any]] = []
    plan: PruningPlan | None = None
    while len(rounds) < rule.rounds and len(history) < rule.last_epoch(config.epochs):
        cut = work.round(model, len(rounds) + 1, len(history), ways)
        model = cut.model
        rounds.append(cut.facts)
        history += [EpochMetrics(**metrics) for metrics in cut.facts["epochs"]]
        if cut.plan is None:
            break
        plan = cut.plan if plan is None else plan.then(cut.plan)
        ways = ("class",) if plan.way == "class" else ways
        if rule.budget:
            break
    tuned = work.train(model, len(history)) if len(history) < config.epochs else None
    return Selected(
        model=tuned.model if tuned else model,
        plan=plan,
        history=(*history, *(tuned.history if tuned else ())),
        rounds=tuple({key: value for key, value in facts.items() if key != "epochs"} for facts in rounds),
    )


@dataclass(frozen=True)
class _Work:
    """What all rounds share."""

    source: DataSource
    config: TrainConfig
    rule: SelectRule
    guide: Guide
    out: Path
    approximate: bool
    quiet: bool

    def round(self, model: nn.Module, number: int, first_epoch: int, ways: Sequence[Way]) -> HardCut:
        """One round's result as it was saved, so that a resumed selection goes on from the same numbers."""
        folder = self.out / f"round-{number}"
        if not (folder / "cut" / MANIFEST).exists():
            cut = self._carry_out(model, folder, first_epoch, ways)
            fabric = connect()
            if fabric.is_global_zero:
                save(cut.model, folder / "cut", plan=cut.plan, record=cut.facts)
                (folder / CHECKPOINT).unlink(missing_ok=True)
            fabric.barrier()
        small = load(folder / "cut", lambda: copy.deepcopy(model))
        plan = PruningPlan.load(folder / "cut" / PLAN) if (folder / "cut" / PLAN).exists() else None
        facts = json.loads((folder / "cut" / RECORD).read_text(encoding="utf-8"))
        return HardCut(small, plan, facts)

    def _carry_out(self, model: nn.Module, folder: Path, first_epoch: int, ways: Sequence[Way]) -> HardCut:
        """Train coefficients until they settle, then cut."""
        example_input = self.source.example_input()
        graph = trace(model, example_input, ways=ways, approximate=self.approximate)
        places = mask_places(graph, without=kept_whole(graph, self.rule.keep))
        require_reachable(graph, places, self.rule)
        rule = self.rule if first_epoch == 0 else dataclasses.replace(self.rule, init="ones")
        masked = MaskedNetwork(model, places, rule.start(places, self.config.seed))
        steering = self._steering(graph, places)
        last_epoch = self.rule.last_epoch(self.config.epochs) - first_epoch
        result = fit(
            masked,
            self.source,
            self.config,
            out=folder,
            resume=True,
            penalty=MaskDescent(places, self._descent(graph, places), steering),
            guidance=self.guide(masked, "network."),
            observer=MaskObserver(self.rule.stable_epochs, last_epoch, steering),
            first_epoch=first_epoch,
            quiet=self.quiet,
        )
        assert isinstance(result.model, MaskedNetwork), "training keeps the class"
        cut = hard_cut(result.model, graph, example_input, self.rule)
        facts = {
            "settled": int(result.model.stable) >= self.rule.stable_epochs,
            "left": [list(pair) for pair in places.left],
            **cut.facts,
            "epochs": [asdict(metrics) for metrics in result.history],
        }
        return dataclasses.replace(cut, facts=facts)

    def _steering(self, graph: ChannelGraph, places: MaskPlaces) -> BudgetSteering | None:
        if self.rule.budget is None:
            return None
        per_epoch = self.config.steps_per_epoch or max(len(self.source.train) // self.config.batch_size, 1)
        steps = RAMP * per_epoch * self.rule.last_epoch(self.config.epochs)
        return BudgetSteering(graph, places, self.rule.budget, round(steps))

    def _descent(self, graph: ChannelGraph, places: MaskPlaces) -> DescentRule:
        return DescentRule(
            rate=self.rule.mask_lr,
            peak=self.config.lr,
            strength=self.rule.pressure,
            momentum=self.rule.mask_momentum,
            nonnegative=self.rule.init != "normal",
            floors=tuple(self.rule.floor(graph.group(name)) for name in places.groups),
        )

    def train(self, model: nn.Module, first_epoch: int) -> FitResult:
        """The epochs that are left, without coefficients."""
        return fit(
            model,
            self.source,
            self.config,
            out=self.out / "tune",
            resume=True,
            guidance=self.guide(model, ""),
            first_epoch=first_epoch,
            quiet=self.quiet,
        )
