"""`select`: budgets are met, proofs hold, channels return, and a resumed selection gives the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import convslim
from convslim.data import DataSource, open_data
from convslim.distill import DistillConfig, Guidance, guide
from convslim.errors import BudgetError, TrainingError
from convslim.sparsity.mask import MaskedNetwork
from convslim.sparsity.mask_places import mask_places
from convslim.train import TrainConfig, history, selection
from convslim.train.hard_cut import hard_cut
from convslim.train.mask_observer import MaskObserver
from convslim.train.select_rule import SelectRule
from convslim.train.selection import Selected, select

TRAINING = TrainConfig(epochs=4, batch_size=32, lr=0.02, steps_per_epoch=4, threads=1, evaluate_every=9)
RULE = SelectRule(budget={"macs": 0.5}, strength=3.0, select_epochs=3, stable_epochs=9)


@pytest.fixture(scope="module")
def source() -> DataSource:
    source = open_data("digits")
    return replace(source, test=source.test.subset(torch.arange(32)))


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return convslim.models.create("digits_cnn")


def guided(source: DataSource) -> selection.Guide:
    config = DistillConfig.model_validate([{"kind": "hint"}, {"kind": "attention"}])

    def make(student: nn.Module, prefix: str) -> Guidance:
        return guide(student, network(), source.example_input(), config, prefix=prefix)

    return make


def run(source: DataSource, out: Path, rule: SelectRule = RULE, training: TrainConfig = TRAINING) -> Selected:
    return select(network(), source, training, rule, guided(source), out=out, quiet=True)


@pytest.fixture(scope="module")
def whole(source: DataSource, tmp_path_factory: pytest.TempPathFactory) -> Selected:
    return run(source, tmp_path_factory.mktemp("whole"))


def facts(selected: Selected) -> list[dict[str, Any]]:
    return [vars(replace(metrics, seconds=0, images_per_second=0)) for metrics in selected.history]


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


def test_the_budget_is_met_and_the_plan_leads_there(source: DataSource, whole: Selected):
    x = source.example_input()
    before, after = convslim.cost(network(), x), convslim.cost(whole.model, x)
    assert 0.4 * before.macs < after.macs <= 0.5 * before.macs
    assert whole.plan is not None
    assert equal_shapes(convslim.rebuild(network(), whole.plan), whole.model)
    assert type(whole.model) is type(network())
    assert whole.rounds[0]["certificate"]["max_error"] < 1e-4


def test_epochs_say_what_lives(whole: Selected):
    assert [metrics.epoch for metrics in whole.history] == [1, 2, 3, 4]
    live = [sum(metrics.facts["live"].values()) for metrics in whole.history[:3] if metrics.facts]
    assert 416 >= live[0] > live[-1]
    assert whole.history[3].facts is None  # the cut network is trained on without coefficients
    assert all((metrics.guidance or 0) > 0 for metrics in whole.history)


class Interrupted(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("stop_at", [1, 3, 4, 5])
def test_resumed_selection_equals_an_uninterrupted_one(
    source: DataSource, tmp_path: Path, whole: Selected, monkeypatch: pytest.MonkeyPatch, stop_at: int
):
    """Killed before it saves for the n-th time: three epochs, the cut, an epoch of the cut network."""
    saved = 0

    def dying(real: Any) -> Any:
        def save(*args: Any, **kwargs: Any) -> Any:
            nonlocal saved
            saved += 1
            if saved == stop_at:
                raise Interrupted
            return real(*args, **kwargs)

        return save

    with monkeypatch.context() as patch:
        patch.setattr("convslim.train.loop.save", dying(history.save))
        patch.setattr("convslim.train.selection.save", dying(convslim.save))
        with pytest.raises(Interrupted):
            run(source, tmp_path)
    torch.manual_seed(stop_at)
    resumed = run(source, tmp_path)
    assert equal(resumed.model, whole.model)
    assert facts(resumed) == facts(whole)
    assert resumed.rounds == whole.rounds
    assert resumed.plan == whole.plan


def test_strength_alone_lets_the_network_choose(source: DataSource, tmp_path: Path):
    training = TRAINING.model_copy(update={"epochs": 6, "steps_per_epoch": 10})
    rule = SelectRule(strength=0.2, init="uniform", stable_epochs=1, select_epochs=6, rounds=2, round_to=1)
    chosen = run(source, tmp_path, rule, training)
    assert chosen.plan is not None
    assert all(len(kept) >= 0.1 * chosen.plan.channels[name] for name, kept in chosen.plan.kept.items())
    assert len({len(kept) / chosen.plan.channels[name] for name, kept in chosen.plan.kept.items()}) > 2
    first = chosen.rounds[0]
    assert {name: kept for name, (kept, _) in first["channels"].items()} == first["live"]


def test_nothing_goes_without_need(source: DataSource, tmp_path: Path):
    training = TRAINING.model_copy(update={"epochs": 3})
    rule = SelectRule(budget={"macs": 1.0}, stable_epochs=1, select_epochs=3, mask_lr=1e-3)
    chosen = run(source, tmp_path, rule, training)
    assert chosen.plan is None
    assert chosen.rounds[0]["settled"]
    assert len(chosen.history) == 3
    assert equal_shapes(chosen.model, network())


def equal_shapes(one: nn.Module, other: nn.Module) -> bool:
    return [tensor.shape for tensor in one.state_dict().values()] == [t.shape for t in other.state_dict().values()]


def test_the_hard_cut_is_the_soft_one(source: DataSource):
    """Without a budget and rounding, the network after the cut is the masked one, to rounding errors."""
    x = source.example_input(4)
    model = network().eval()
    graph = convslim.trace(model, x[:1])
    places = mask_places(graph)
    start = torch.rand(places.total)
    start[torch.rand(places.total) < 0.4] = 0
    masked = MaskedNetwork(model, places, start).eval()
    cut = hard_cut(masked, graph, x[:1], SelectRule(strength=0.1, round_to=1, min_ratio=0.0))
    assert cut.plan is not None
    with torch.no_grad():
        torch.testing.assert_close(cut.model(x), masked(x), rtol=1e-4, atol=1e-5)
    assert {name: len(cut.plan.kept[name]) for name in places.groups} == masked.live()


def test_the_observer_counts_stable_epochs_and_returns(source: DataSource):
    model = network()
    places = mask_places(convslim.trace(model, source.example_input()))
    masked = MaskedNetwork(model, places, torch.ones(places.total))
    observer = MaskObserver(stable_epochs=2, last_epoch=9, steering=None)
    ends = []
    for cut in ([0, 1], [0, 1], [1], [1], [1]):
        masked.settled.fill_(1)
        masked.settled[cut] = 0
        ends.append(observer.end_epoch_(masked))
    assert [end.facts["returned"] for end in ends] == [0, 0, 1, 0, 0]
    assert [end.stop for end in ends] == [False, False, False, False, True]
    assert observer.note(masked).startswith("live 15/16 16/16 48/48")


def test_what_cannot_be_is_said():
    with pytest.raises(TrainingError, match="needs a budget or a strength"):
        SelectRule()


def test_a_budget_out_of_reach_is_met_before_training(source: DataSource, tmp_path: Path):
    with pytest.raises(BudgetError, match="macs"):
        run(source, tmp_path, SelectRule(budget={"macs": 0.001}))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_no_moving_average(source: DataSource, tmp_path: Path):
    with pytest.raises(TrainingError, match="averaged coefficients are never zero"):
        run(source, tmp_path, training=TRAINING.model_copy(update={"ema_decay": 0.9}))
