"""Knowledge distillation: the teacher's softened class probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from convslim.distill.views import Views


@dataclass(frozen=True)
class Logits:
    """L = T²·mean_n KL(softmax(z_t/T) ‖ softmax(z_s/T)), in nats.

    T² keeps the size of the gradients where T changes.

    Args:
        temperature: T; above 1 shows how the teacher ranks wrong classes.

    >>> import torch
    >>> scores = torch.tensor([[2.0, 0.0]])
    >>> round(float(Logits(1.0)(Views(torch.zeros(1, 2)), Views(scores), torch.tensor([0]))), 4)
    0.3278

    References:
        Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """

    temperature: float = 4.0

    def __call__(self, student: Views, teacher: Views, labels: Tensor) -> Tensor:
        """The loss of a batch; `labels` are not looked at."""
        told = F.log_softmax(teacher.scores / self.temperature, dim=1)
        said = F.log_softmax(student.scores / self.temperature, dim=1)
        return self.temperature**2 * F.kl_div(said, told, reduction="batchmean", log_target=True)
