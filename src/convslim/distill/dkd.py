"""Decoupled knowledge distillation: how sure of the right class, and how the others rank, weighted apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from convslim.distill.views import Views


@dataclass(frozen=True)
class DecoupledLogits:
    """L = T²·mean_n (α·KL(b_t ‖ b_s) + β·KL(q_t ‖ q_s)).

    b is the pair (probability of the label's class, of all others), q the probabilities of the other classes among
    themselves, all of scores divided by T. Plain distillation is α = 1 and β = 1 - b_t's first entry: it mutes the
    second term where the teacher is sure.

    Args:
        temperature: T.
        alpha: weight of the label's class.
        beta: weight of the other classes.

    >>> import torch
    >>> scores = torch.tensor([[2.0, 0.0, 0.0]])
    >>> round(float(DecoupledLogits(1.0, 0.0, 1.0)(Views(torch.zeros(1, 3)), Views(scores), torch.tensor([0]))), 4)
    0.0

    References:
        Zhao, Cui, Song, Qiu and Liang, "Decoupled Knowledge Distillation", CVPR 2022, arXiv:2203.08679.
    """

    temperature: float = 4.0
    alpha: float = 1.0
    beta: float = 8.0

    def __call__(self, student: Views, teacher: Views, labels: Tensor) -> Tensor:
        """The loss of a batch with labels (N,)."""
        said, said_rest = self._parts(student.scores, labels)
        told, told_rest = self._parts(teacher.scores, labels)
        target = F.kl_div(said, told, reduction="batchmean", log_target=True)
        others = F.kl_div(said_rest, told_rest, reduction="batchmean", log_target=True)
        return self.temperature**2 * (self.alpha * target + self.beta * others)

    def _parts(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of b, (N, 2), and of q, (N, K - 1)."""
        classes = torch.arange(scores.shape[1], device=scores.device)
        other = classes != labels[:, None]
        scaled = scores / self.temperature
        rest = scaled[other].reshape(len(scores), -1)
        label = scaled.gather(1, labels[:, None])
        pair = torch.cat([label, rest.logsumexp(1, keepdim=True)], 1)
        return F.log_softmax(pair, 1), F.log_softmax(rest, 1)
