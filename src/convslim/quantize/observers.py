"""Which range of an activation is worth representing: observers look at batches and name a range.

Every observer is a small module with a count of what it has seen; ``observer(x)`` looks, ``observer.range()`` answers.
Their state is made of buffers of fixed shapes, so it is saved and loaded with the network.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from convslim.quantize.grid import affine_grid, snap

BINS = 4096
CANDIDATES = 80


class Observer(Protocol):
    """What a quantizer asks of an observer."""

    seen: Tensor

    def __call__(self, x: Tensor) -> None:
        """Look at a batch."""

    def range(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest value worth representing, tensors of no dimension."""


def extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest entry, float32; quick for channels-last images too."""
    flat = x.permute(0, 2, 3, 1) if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) else x
    low, high = torch.aminmax(flat.reshape(-1))
    return low.float(), high.float()


class MinMax(nn.Module):
    """The extremes: over everything seen, or their exponential moving average ``a ← a + momentum · (batch's - a)``.

    Args:
        momentum: 0 < momentum ≤ 1 for a moving average; None for the extremes of all batches.

    >>> observer = MinMax()
    >>> observer(torch.tensor([1.0, -2.0])), observer(torch.tensor([3.0]))
    (None, None)
    >>> [float(end) for end in observer.range()]
    [-2.0, 3.0]
    """

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, momentum: float | None = None) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, x: Tensor) -> None:
        """Take the batch's extremes in."""
        low, high = extremes(x.detach())
        if not self.seen:
            self.low.copy_(low)
            self.high.copy_(high)
        elif self.momentum is None:
            self.low.copy_(torch.minimum(self.low, low))
            self.high.copy_(torch.maximum(self.high, high))
        else:
            self.low.lerp_(low, self.momentum)
            self.high.lerp_(high, self.momentum)
        self.seen += 1

    def range(self) -> tuple[Tensor, Tensor]:
        """The extremes, or their average."""
        return self.low, self.high


class Histogram(nn.Module):
    """Counts of values in equal bins over ``[-bound, bound)``; the bound doubles, bins merging in pairs, as needed.

    NaN and infinite values are not counted; they make the bound infinite or NaN, which the quantizer refuses.
    """

    counts: Tensor
    bound: Tensor
    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._answer: tuple[int, Tensor, Tensor] | None = None
        self.register_buffer("counts", torch.zeros(BINS, dtype=torch.float64))
        self.register_buffer("bound", torch.zeros(()))
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, x: Tensor) -> None:
        """Count a batch."""
        x = x.detach().float()
        low, high = extremes(x)
        first = not self.seen
        self.low.copy_(low if first else torch.minimum(self.low, low))
        self.high.copy_(high if first else torch.maximum(self.high, high))
        self.seen += 1
        needed = torch.maximum(-low, high)
        if not needed.isfinite() or needed == 0:
            self.counts[BINS // 2] += x.numel() if needed == 0 else 0
            return
        if self.bound == 0:
            self.counts[BINS // 2] = self.counts.sum()
            self.bound.copy_(needed * 1.01)
        while self.bound <= needed:
            self._double()
        bound = float(self.bound)
        self.counts += torch.histc(x, BINS, -bound, bound).double()

    def range(self) -> tuple[Tensor, Tensor]:
        """The range that the histogram speaks for, searched once for all that was seen."""
        if self._answer is None or self._answer[0] != int(self.seen):
            self._answer = int(self.seen), *self._choose()
        return self._answer[1:]

    def _choose(self) -> tuple[Tensor, Tensor]:
        """The range, from the histogram."""
        raise NotImplementedError

    def _double(self) -> None:
        merged = self.counts.reshape(-1, 2).sum(1)
        self.counts.zero_()
        self.counts[BINS // 4 : BINS // 4 * 3] = merged
        self.bound.mul_(2)

    def centers(self) -> Tensor:
        """Middle of every bin, float32 (BINS,)."""
        width = 2 * self.bound / BINS
        return -self.bound + width * (torch.arange(BINS, device=self.bound.device) + 0.5)


class Percentile(Histogram):
    """The range that leaves out a share ``1 - share`` of the values, half of it at either end of the values.

    One-sided values (behind a ReLU) lose only at the other end.

    >>> observer = Percentile(0.9)
    >>> observer(torch.linspace(-1, 1, 10001))
    >>> [round(float(end), 2) for end in observer.range()]
    [-0.9, 0.9]
    """

    def __init__(self, share: float = 0.9999) -> None:
        super().__init__()
        self.share = share

    def _choose(self) -> tuple[Tensor, Tensor]:
        """Quantiles of the histogram, within the extremes."""
        if self.bound == 0:
            return self.low, self.high
        cumulated = self.counts.cumsum(0) / self.counts.sum().clamp(min=1)
        lost = (1 - self.share) / (2 if self.low < 0 < self.high else 1)
        places = torch.searchsorted(cumulated, torch.tensor([lost, 1 - lost], dtype=torch.float64))
        low, high = self.centers()[places.clamp(max=BINS - 1)]
        return torch.maximum(low, self.low), torch.minimum(high, self.high)


class SquaredError(Histogram):
    """The range whose grid has the least squared error over what was seen: ``min Σ n_b (x_b - snap(x_b))²``.

    Both ends are shrunk together, then each alone.

    >>> observer = SquaredError()
    >>> observer(torch.cat([torch.linspace(-3, 3, 1_000_000), torch.tensor([12.0])]))
    >>> float(observer.range()[1]) < 11
    True
    """

    def _choose(self) -> tuple[Tensor, Tensor]:
        """The best of a few hundred candidates."""
        if self.bound == 0:
            return self.low, self.high
        shares = torch.linspace(1, 1 / CANDIDATES, CANDIDATES, device=self.low.device)
        low, high = self._best([(self.low * share, self.high * share) for share in shares])
        low, high = self._best([(low * share, high) for share in shares])
        return self._best([(low, high * share) for share in shares])

    def _best(self, ranges: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        centers = self.centers()
        errors = [(centers - snap(centers, affine_grid(*ends))).double().square() @ self.counts for ends in ranges]
        return ranges[int(torch.stack(errors).argmin())]


OBSERVERS = {"minmax": MinMax, "percentile": Percentile, "mse": SquaredError}
"""By the names that recipes use, for ranges of calibration images."""
