"""`fit`: learns, resumes bit for bit, leaves its inputs alone, and stops when training fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convslim.data import DataSource, Split, TensorReader, open_data
from convslim.errors import ArtifactError, DataError, ModelError, TrainingError
from convslim.train import EpochMetrics, TrainConfig, fit

QUICK = TrainConfig(epochs=3, batch_size=32, lr=0.05, steps_per_epoch=3, threads=1)


class Interrupted(Exception):
    """Stands for a kill between two epochs."""


@pytest.fixture(scope="module")
def source() -> DataSource:
    source = open_data("digits")
    return replace(source, test=source.test.subset(torch.arange(64)))


def network(dropout: float = 0.1) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(32, 10),
        )


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


def numbers(history: tuple[EpochMetrics, ...]) -> list[EpochMetrics]:
    """The metrics without the times."""
    return [replace(metrics, seconds=0.0, images_per_second=0.0) for metrics in history]


def test_training_learns_the_digits(source: DataSource):
    config = TrainConfig(epochs=12, batch_size=64, lr=0.1, warmup_epochs=1, threads=1, evaluate_every=6)
    result = fit(network(0.0), source, config, quiet=True)
    assert [metrics.test_accuracy is None for metrics in result.history] == [True] * 5 + [False] + [True] * 5 + [False]
    assert result.history[-1].train_loss < 0.5 * result.history[0].train_loss
    assert (result.history[-1].test_accuracy or 0) > 0.8


def test_model_and_random_state_stay_as_they_were(source: DataSource):
    model = network().eval()
    model[3].weight.requires_grad_(False)
    state, before = torch.get_rng_state(), network().eval()
    result = fit(model, source, QUICK, quiet=True)
    assert equal(model, before)
    assert not model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(result.model.get_parameter("3.weight"), model.get_parameter("3.weight"))
    assert not equal(result.model, model)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bf16", "ema_decay": 0.9},
        {"optimizer": "adamw", "lr": 1e-3, "channels_last": False, "clip_norm": 1.0, "label_smoothing": 0.1},
        {"schedule": "steps", "milestones": (2,), "decay_norm_and_bias": False, "warmup_epochs": 0.5},
    ],
    ids=["sgd", "bf16-ema", "adamw", "steps"],
)
@pytest.mark.parametrize("stop_after", [1, 2])
def test_resumed_training_equals_an_uninterrupted_one_bit_for_bit(
    source: DataSource, tmp_path: Path, changes: dict[str, object], stop_after: int
):
    config = TrainConfig(**{**QUICK.model_dump(), **changes})
    whole = fit(network(), source, config, quiet=True)

    def stop(metrics: EpochMetrics) -> None:
        if metrics.epoch == stop_after:
            raise Interrupted

    with pytest.raises(Interrupted):
        fit(network(), source, config, out=tmp_path, on_epoch=stop, quiet=True)
    torch.manual_seed(99)  # the caller's random state must not matter
    resumed = fit(network(), source, config, out=tmp_path, resume=True, quiet=True)
    assert equal(resumed.model, whole.model)
    assert numbers(resumed.history) == numbers(whole.history)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


def test_finished_training_resumes_to_its_result(source: DataSource, tmp_path: Path):
    first = fit(network(), source, QUICK, out=tmp_path, quiet=True)
    again = fit(network(), source, QUICK, out=tmp_path, resume=True, quiet=True)
    assert equal(first.model, again.model)
    assert first.history == again.history


class Poison:
    """A penalty that makes a weight NaN in one of its steps."""

    def __init__(self, name: str = "0.weight", at: int = 4) -> None:
        self.steps, self.name, self.at = 0, name, at

    def value(self, parameters: object) -> float:
        return 0.0

    def apply_gradient_(self, parameters: object) -> None:
        self.steps += 1

    def apply_proximal_(self, parameters: Mapping[str, Tensor], lr: float) -> None:
        if self.steps == self.at:
            parameters[self.name].data.fill_(float("nan"))


def test_nan_stops_training_and_keeps_the_last_good_state(source: DataSource, tmp_path: Path):
    with pytest.raises(TrainingError, match=r"epoch 2, step 2 \(learning rate .*\): the loss is nan") as caught:
        fit(network(), source, QUICK, out=tmp_path, penalty=Poison(), quiet=True)
    assert "after epoch 1, is kept in" in str(caught.value)
    resumed = fit(network(), source, QUICK, out=tmp_path, resume=True, quiet=True)
    assert equal(resumed.model, fit(network(), source, QUICK, quiet=True).model)


def test_nan_that_the_loss_does_not_show_stops_training(source: DataSource):
    class Aside(nn.Sequential):
        """Holds a weight that its outputs do not depend on."""

        def __init__(self) -> None:
            super().__init__(*network())
            self.unused = nn.Parameter(torch.ones(2))
            self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

        def forward(self, images: Tensor) -> Tensor:
            return nn.Sequential(*self)(images)

    fit(Aside(), source, QUICK, quiet=True)
    with pytest.raises(TrainingError, match=r"in epoch 1, .*: unused holds NaN"):
        fit(Aside(), source, QUICK, penalty=Poison("unused", 1), quiet=True)


def test_divergence_stops_training(source: DataSource):
    config = TrainConfig(epochs=9, batch_size=32, lr=50.0, divergence_patience=3, divergence_factor=1.5, threads=1)
    with pytest.raises(TrainingError, match=r"times that of guessing|loss is nan|loss is inf") as caught:
        fit(network(), source, config, quiet=True)
    assert "Lower lr" in str(caught.value)


def test_another_configuration_is_refused(source: DataSource, tmp_path: Path):
    fit(network(), source, QUICK, out=tmp_path, quiet=True)
    other = QUICK.model_copy(update={"lr": 0.01})
    with pytest.raises(ArtifactError, match=r"lr 0\.05 → 0\.01"):
        fit(network(), source, other, out=tmp_path, resume=True, quiet=True)


def test_another_model_is_refused(source: DataSource, tmp_path: Path):
    fit(network(), source, QUICK, out=tmp_path, quiet=True)
    with pytest.raises(ArtifactError, match="belongs to another model"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), source, QUICK, out=tmp_path, resume=True, quiet=True)


def test_truncated_checkpoint_is_named(source: DataSource, tmp_path: Path):
    fit(network(), source, QUICK, out=tmp_path, quiet=True)
    checkpoint = tmp_path / "training.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(ArtifactError, match=r"training\.safetensors.*truncated"):
        fit(network(), source, QUICK, out=tmp_path, resume=True, quiet=True)


def test_unwritable_folder_is_named(source: DataSource, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtifactError, match="cannot be written"):
        fit(network(), source, QUICK, out=tmp_path / "file", quiet=True)


def test_failing_forward_names_the_batch(source: DataSource):
    broken = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    with pytest.raises(ModelError, match=r"Sequential failed on a batch of shape \(32, 1, 8, 8\)"):
        fit(broken, source, QUICK, quiet=True)


def test_wrong_output_is_named(source: DataSource):
    with pytest.raises(ModelError, match=r"returned \(32, 4, 6, 6\)"):
        fit(nn.Sequential(nn.Conv2d(1, 4, 3)), source, QUICK, quiet=True)


def test_label_out_of_range_is_named(source: DataSource):
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    with pytest.raises(DataError, match="scores 5 classes"):
        fit(narrow, source, QUICK, quiet=True)


def test_empty_training_split_is_named(source: DataSource):
    reader = TensorReader(torch.zeros(0, 1, 8, 8, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    assert isinstance(source.train, Split)
    empty = replace(source, train=replace(source.train, reader=reader, rows=torch.zeros(0, dtype=torch.int64)))
    with pytest.raises(DataError, match="empty"):
        fit(network(), empty, QUICK, quiet=True)
