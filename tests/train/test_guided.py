"""`fit` under a teacher's guidance: learns from it, resumes bit for bit, leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from convslim.data import DataSource, open_data
from convslim.distill import Guidance, guide
from convslim.errors import TrainingError
from convslim.train import EpochMetrics, TrainConfig, fit


class Interrupted(Exception):
    """Stands for a kill between two epochs."""


@pytest.fixture(scope="module")
def source() -> DataSource:
    source = open_data("digits")
    return replace(source, test=source.test.subset(torch.arange(32)))


def network(width: int, seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1, stride=2), nn.ReLU()),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * width, 10),
        )


def config(distill: object, **changes: object) -> TrainConfig:
    plain = {"epochs": 2, "batch_size": 32, "lr": 0.05, "steps_per_epoch": 3, "threads": 1, "evaluate_every": 9}
    return TrainConfig.model_validate({**plain, "distill": distill, **changes})


def guidance(source: DataSource, student: nn.Module, training: TrainConfig) -> Guidance:
    assert training.distill is not None
    return guide(student, network(8, seed=1), source.example_input(), training.distill)


ALL = [{"kind": kind} for kind in ("logits", "dkd", "attention", "hint", "fsp")]


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


def test_a_teacher_changes_what_is_learned(source: DataSource):
    training = config({"kind": "logits", "weight": 0.9, "label_weight": 0.1})
    student = network(4, seed=0)
    guided = fit(student, source, training, guidance=guidance(source, student, training), quiet=True)
    alone = fit(student, source, training.model_copy(update={"distill": None}), quiet=True)
    assert not equal(guided.model, alone.model)
    assert (guided.history[0].guidance or 0) > 0
    assert alone.history[0].guidance is None
    assert not any(module._forward_hooks for module in guided.model.modules())


def test_without_labels_the_student_becomes_the_teacher(source: DataSource):
    """Guidance alone, from a teacher of the same shape: the student's scores come close to the teacher's."""
    training = config(
        {"kind": "logits", "temperature": 1, "label_weight": 0.0}, epochs=4, steps_per_epoch=None, lr=0.1, augment=False
    )
    student, teacher = network(4, seed=0), network(4, seed=5).eval()
    with torch.no_grad():
        teacher.get_parameter("4.weight").mul_(20)  # a teacher with an opinion
    assert training.distill is not None
    taught = fit(
        student,
        source,
        training,
        guidance=guide(student, teacher, source.example_input(), training.distill),
        quiet=True,
    )
    first, last = taught.history[0].guidance, taught.history[-1].guidance
    assert first is not None
    assert last is not None
    assert last < 0.5 * first


def test_what_is_given_stays_as_it_was(source: DataSource):
    training = config([{"kind": "hint"}])
    student = network(4, seed=0)
    given = guidance(source, student, training)
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    fit(student, source, training, guidance=given, quiet=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in given.state_dict().items())
    assert equal(student, network(4, seed=0))


@pytest.mark.parametrize(
    "changes", [{}, {"precision": "bf16", "ema_decay": 0.9, "channels_last": False}], ids=["plain", "bf16-ema"]
)
def test_resumed_guided_training_equals_an_uninterrupted_one(
    source: DataSource, tmp_path: Path, changes: dict[str, object]
):
    training, student = config(ALL, lr=0.002, clip_norm=1.0, **changes), network(4, seed=0)
    whole = fit(student, source, training, guidance=guidance(source, student, training), quiet=True)

    def stop(metrics: EpochMetrics) -> None:
        raise Interrupted

    options = {"guidance": guidance(source, student, training), "out": tmp_path, "quiet": True}
    with pytest.raises(Interrupted):
        fit(student, source, training, on_epoch=stop, **options)  # type: ignore[arg-type]
    torch.manual_seed(99)
    resumed = fit(student, source, training, resume=True, **options)  # type: ignore[arg-type]
    assert equal(resumed.model, whole.model)
    assert [metrics.guidance for metrics in resumed.history] == [metrics.guidance for metrics in whole.history]


def test_adapters_are_trained(source: DataSource, tmp_path: Path):
    from safetensors.torch import load_file

    training, student = config({"kind": "hint"}), network(4, seed=0)
    given = guidance(source, student, training)
    fit(student, source, training, guidance=given, out=tmp_path, quiet=True)
    saved = load_file(tmp_path / "training.safetensors")
    for name, start in given.adapters.state_dict().items():
        assert not torch.equal(saved[f"adapters/{name}"], start)
        assert f"adapters-optimizer/{name}#momentum_buffer" in saved


def test_a_teacher_is_asked_for(source: DataSource):
    with pytest.raises(TrainingError, match="wants to distill, but no teacher is given"):
        fit(network(4, seed=0), source, config({"kind": "logits"}), quiet=True)


def test_guidance_that_is_not_finite_stops_training(source: DataSource):
    training, student = config({"kind": "hint"}), network(4, seed=0)
    given = guidance(source, student, training)
    with torch.no_grad():
        given.teacher.get_parameter("0.0.weight").fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan"):
        fit(student, source, training, guidance=given, quiet=True)
