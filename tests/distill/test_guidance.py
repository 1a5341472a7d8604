"""`guide` and `Guidance`: where networks are compared, adapters, and nothing left behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import convslim
from convslim.distill import DistillConfig, guide, stage_ends
from convslim.distill.positions import Position, paired
from convslim.errors import ModelError

X = torch.zeros(1, 1, 8, 8)


def digits(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return convslim.models.create("digits_cnn")


def config(data: object) -> DistillConfig:
    return DistillConfig.model_validate(data)


def test_stages_of_the_digits_network():
    assert [(end.name, end.channels, end.size) for end in stage_ends(digits(0), X)] == [
        ("block1", 16, (8, 8)),
        ("head_bn", 96, (4, 4)),
    ]


def test_stages_are_cut_where_the_size_changes_not_by_names():
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 6, 1), nn.MaxPool2d(2)),  # its convolution is not the end of the first stage
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    assert [(end.name, end.channels) for end in stage_ends(net, X)] == [("0", 4), ("1", 6)]


def test_other_architectures_are_paired_by_size():
    own = [Position("a", 4, (8, 8)), Position("b", 8, (4, 4))]
    given = [Position("x", 6, (16, 16)), Position("y", 6, (8, 8)), Position("z", 9, (4, 4))]
    assert [(one.name, other.name) for one, other in paired(own, given)] == [("a", "y"), ("b", "z")]
    foreign = [Position("u", 6, (7, 7)), Position("v", 6, (5, 5)), Position("w", 9, (3, 3))]
    assert [(one.name, other.name) for one, other in paired(own, foreign)] == [("a", "v"), ("b", "w")]


def run(guidance: convslim.distill.Guidance, student: nn.Module, images: Tensor) -> Tensor:
    labels = torch.zeros(len(images), dtype=torch.int64)
    with guidance.watching(student):
        scores = student(images)
    return guidance.loss(scores, guidance.teach(images), labels)


@pytest.mark.parametrize("kind", ["logits", "dkd", "attention", "hint", "fsp"])
def test_a_student_that_is_its_teacher_is_left_alone(kind: str):
    student = digits(0).eval()
    guidance = guide(student, student, X, config({"kind": kind}))
    assert run(guidance, student, torch.randn(4, 1, 8, 8)).item() == pytest.approx(0, abs=1e-5)


def test_weights_add_up():
    student, teacher, images = digits(0).eval(), digits(1), torch.randn(4, 1, 8, 8)
    parts = [{"kind": "attention", "weight": 3.0}, {"kind": "logits", "weight": 0.5}]
    alone = [run(guide(student, teacher, X, config({**part, "weight": 1.0})), student, images) for part in parts]
    both = run(guide(student, teacher, X, config(parts)), student, images)
    assert both.item() == pytest.approx(3.0 * alone[0].item() + 0.5 * alone[1].item(), rel=1e-5)


def test_nothing_is_left_on_either_network():
    student, teacher = digits(0), digits(1).train()
    guidance = guide(student, teacher, X, config({"kind": "hint"}))
    run(guidance, student, torch.randn(4, 1, 8, 8)).backward()
    for network in (student, teacher, guidance.teacher):
        assert not any(module._forward_hooks for module in network.modules())
    assert teacher.training
    assert all(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.grad is None for parameter in guidance.teacher.parameters())
    assert not guidance.teacher.training
    assert all(parameter.grad is not None for parameter in guidance.adapters.parameters())


def test_adapters_lead_from_width_to_width_and_start_as_the_identity():
    wide = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Flatten(), nn.LazyLinear(10))
    wide(X)
    narrow = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 10))
    (adapter,) = guide(narrow, wide, X, config({"kind": "hint"})).adapters[0]
    maps = torch.randn(2, 4, 6, 6)
    assert torch.equal(adapter(maps)[:, :4], maps)
    assert not adapter(maps)[:, 4:].any()
    assert len(list(guide(narrow, narrow, X, config({"kind": "fsp"})).adapters.parameters())) == 0


def test_positions_by_name():
    student, teacher = digits(0), digits(1)
    chosen = {"kind": "attention", "positions": ["block2"], "teacher_positions": ["block3"]}
    pairs = guide(student, teacher, X, config(chosen)).pairs[0]
    assert [(own.name, given.name) for own, given in pairs] == [("block2", "block3")]
    with pytest.raises(ModelError, match=r"no module 'block9' that returns a feature map.*Did you mean 'block"):
        guide(student, teacher, X, config({"kind": "attention", "positions": ["block9"]}))


def test_teacher_of_other_classes_is_refused():
    student, teacher = digits(0), convslim.models.create("digits_cnn", num_classes=7)
    with pytest.raises(ModelError, match=r"teacher gives scores of shape \(4, 7\), the student \(4, 10\)"):
        run(guide(student, teacher, X, config({"kind": "logits"})), student, torch.randn(4, 1, 8, 8))


def test_a_network_without_maps_says_what_to_do():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(ModelError, match=r"calls no module that returns a feature map.*logits and dkd"):
        guide(flat, digits(0), X, config({"kind": "attention"}))
    assert guide(flat, digits(0), X, config({"kind": "dkd"})).pairs == [[]]


@pytest.mark.parametrize("kind", ["logits", "dkd"])
def test_maps_of_a_detector_are_no_class_scores(kind: str):
    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = digits(0)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            scores = self.features(x)
            return scores, scores

    guidance = guide(Detector(), Detector(), X, config({"kind": kind}))
    with pytest.raises(ModelError, match=f"Distillation by {kind} compares class scores, and a detector has none"):
        run(guidance, Detector(), X)
