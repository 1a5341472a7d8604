"""A frozen teacher, and the losses that draw a student to it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from convslim.channels.tape import ExampleInput
from convslim.distill.attention import Attention
from convslim.distill.config import DistillConfig, Kind, LossConfig
from convslim.distill.dkd import DecoupledLogits
from convslim.distill.fsp import SolutionFlow
from convslim.distill.hint import Hint
from convslim.distill.logits import Logits
from convslim.distill.positions import Position, named_positions, outputs_seen, paired, stage_ends
from convslim.distill.views import GuidanceLoss, Views
from convslim.errors import ModelError

OF_MAPS: Final = frozenset({"attention", "hint", "fsp"})
_ADAPTED: Final = frozenset({"hint", "fsp"})
Pairs = list[tuple[Position, Position]]


def guidance_loss(config: LossConfig) -> GuidanceLoss:
    """The loss that a configuration names."""
    losses: dict[Kind, GuidanceLoss] = {
        "logits": Logits(config.temperature),
        "dkd": DecoupledLogits(config.temperature, config.alpha, config.beta),
        "attention": Attention(),
        "hint": Hint(),
        "fsp": SolutionFlow(),
    }
    return losses[config.kind]


class Guidance(nn.Module):
    """Σ weight·loss between a student in training and a teacher in evaluation mode. Made by `guide`.

    Attributes:
        config: The losses and their weights.
        teacher: A frozen copy.
        pairs: For every loss the positions that it compares.
        adapters: For every loss one 1×1 convolution per position, or nothing; trained with the student.
    """

    def __init__(self, config: DistillConfig, teacher: nn.Module, pairs: list[Pairs]) -> None:
        super().__init__()
        self.config = config
        self.pairs = pairs
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.adapters = nn.ModuleList(
            nn.ModuleList(_adapter(loss.kind, own.channels, given.channels) for own, given in group)
            for loss, group in zip(config.losses, pairs, strict=True)
        )
        self._seen: dict[str, Tensor] = {}

    @contextmanager
    def watching(self, student: nn.Module) -> Iterator[None]:
        """Keep what the student shows at its positions while this lasts."""
        self._seen.clear()
        names = {own.name for group in self.pairs for own, _ in group}
        with outputs_seen(student, names, self._seen.__setitem__):
            yield

    @torch.no_grad()
    def teach(self, images: Tensor) -> tuple[Any, dict[str, Tensor]]:
        """The teacher's outputs, scores (N, K) of a classifier, and its maps by position."""
        shown: dict[str, Tensor] = {}
        names = {given.name for group in self.pairs for _, given in group}
        with outputs_seen(self.teacher, names, shown.__setitem__):
            scores = self.teacher(images)
        return scores, shown

    def loss(self, outputs: Any, lesson: tuple[Any, dict[str, Tensor]], labels: Any) -> Tensor:
        """Σ weight·loss in float32, of the forward pass that was watched last.

        Args:
            outputs: The student's: scores (N, K) of a classifier; those of other networks are not compared.
            lesson: What `teach` gave on the same images.
            labels: (N,) of a classifier.

        Raises:
            ModelError: Teacher and student do not score the same classes, or there are no scores to compare.
        """
        told, shown = lesson
        scores, told = self._compared(outputs, told)
        total = torch.zeros((), device=scores.device)
        for config, group, adapters in zip(self.config.losses, self.pairs, self.adapters, strict=True):
            assert isinstance(adapters, nn.ModuleList), "every loss has a list of adapters"
            seen = [self._seen[own.name].float() for own, _ in group]
            own = tuple(adapter(maps) for adapter, maps in zip(adapters, seen, strict=True))
            given = tuple(shown[position.name].float() for _, position in group)
            loss = guidance_loss(config)(Views(scores, own), Views(told.float(), given), labels)
            total = total + config.weight * loss
        self._seen.clear()
        return total

    def _compared(self, outputs: Any, told: Any) -> tuple[Tensor, Tensor]:
        """Class scores of student and teacher; nothing where networks have none, and maps alone are compared."""
        if not isinstance(outputs, Tensor):
            for loss in self.config.losses:
                if loss.kind not in OF_MAPS:
                    raise ModelError(
                        f"Distillation by {loss.kind} compares class scores, and a detector has none. Write one of "
                        f"{', '.join(sorted(OF_MAPS))}."
                    )
            device = next(self.teacher.parameters()).device
            return torch.zeros(0, device=device), torch.zeros(0, device=device)
        if told.shape != outputs.shape:
            raise ModelError(
                f"The teacher gives scores of shape {tuple(told.shape)}, the student {tuple(outputs.shape)}. "
                "Guidance needs a teacher of the same classes; set its options.num_classes, or give another one."
            )
        return outputs, told


def guide(
    student: nn.Module,
    teacher: nn.Module,
    example_input: ExampleInput,
    config: DistillConfig,
    *,
    prefix: str = "",
) -> Guidance:
    """Prepare what draws a student to a teacher: pairs of positions, and adapters between their widths.

    Both networks are left as they are found; the teacher is copied.

    Args:
        student: The network that will be trained.
        teacher: A trained network of any architecture, of the same classes.
        example_input: One image; the adapters' widths are those it shows.
        config: The losses.
        prefix: Stands before the configuration's names of the student's modules.

    Raises:
        ModelError: A named position does not exist, or a network has no feature maps to compare.

    Example:
        >>> import torch, convslim
        >>> big, small = convslim.models.create("resnet56_cifar"), convslim.models.create("resnet20_cifar")
        >>> config = DistillConfig.model_validate({"kind": "hint"})
        >>> guidance = guide(small, big, torch.zeros(1, 3, 32, 32), config)
        >>> [(own.name, given.name) for own, given in guidance.pairs[0]]
        [('layer1', 'layer1'), ('layer2', 'layer2'), ('layer3', 'layer3')]
    """
    pairs = [_pairs(student, teacher, example_input, loss, prefix) for loss in config.losses]
    return Guidance(config, teacher, pairs)


def _pairs(
    student: nn.Module, teacher: nn.Module, example_input: ExampleInput, config: LossConfig, prefix: str
) -> Pairs:
    if config.kind not in OF_MAPS:
        return []
    if not config.positions:
        return paired(stage_ends(student, example_input), stage_ends(teacher, example_input))
    own = named_positions(student, example_input, [f"{prefix}{name}" for name in config.positions])
    given = named_positions(teacher, example_input, config.teacher_positions or config.positions)
    return list(zip(own, given, strict=True))


def _adapter(kind: str, own: int, given: int) -> nn.Module:
    """A 1×1 convolution that starts as the identity on common channels; nothing where none is needed."""
    if kind not in _ADAPTED or (kind == "fsp" and own == given):
        return nn.Identity()
    adapter = nn.utils.skip_init(nn.Conv2d, own, given, 1, bias=False)
    nn.init.dirac_(adapter.weight)
    return adapter
