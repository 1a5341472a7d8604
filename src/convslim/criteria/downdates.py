"""Greedy removal of blocks of inputs from least-squares problems, by downdates of the inverse Gram matrix.

A problem is ``min_W |X W - Y|²`` with the Gram matrix ``H = XᵀX``. Taking away the inputs of block B, and refitting all
others, costs exactly

    ``ΔE_B = tr(W_Bᵀ (H⁻¹_BB)⁻¹ W_B)``,

and leaves ``W - H⁻¹_{·B} (H⁻¹_BB)⁻¹ W_B`` and ``H⁻¹ - H⁻¹_{·B} (H⁻¹_BB)⁻¹ H⁻¹_{B·}`` to the next removal.

References:
    Hassibi, Stork, *Second order derivatives for network pruning: Optimal Brain Surgeon*, NIPS 1992.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

TOGETHER = 16
"""Removals whose downdates are carried out together."""


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """One layer as a reader of channels.

    Attributes:
        gram: H, positive definite, ``(K, K)`` float64.
        matrix: W, ``(K, M)`` float64; the square of column m is in the unit of the error.
        blocks: Inputs of every channel, ``(C, s)``; inputs of no channel always stay.
    """

    gram: Tensor
    matrix: Tensor
    blocks: npt.NDArray[np.int64]


def removal_order(problems: Sequence[LeastSquares]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Remove the channel that costs least, over and over; the errors of several readers add.

    ``O(K³)`` for every problem, whatever the number of channels.

    Returns:
        The channels in the order in which they go, ``(C,)``, and what each removal adds to the error, ``(C,)``.

    >>> gram = torch.eye(3, dtype=torch.float64)
    >>> matrix = torch.tensor([[2.0], [0.5], [1.0]], dtype=torch.float64)
    >>> removal_order([LeastSquares(gram, matrix, np.arange(3)[:, None])])
    (array([1, 2, 0]), array([0.25, 1.  , 4.  ]))
    """
    states = [_State(problem) for problem in problems]
    count = len(problems[0].blocks)
    alive = np.arange(count)
    added = np.zeros(count)
    for step in range(count):
        left = count - step
        costs = torch.stack([state.costs(left) for state in states]).sum(0)
        chosen = int(costs.argmin())
        added[step] = float(costs[chosen])
        for state in states:
            state.remove_(chosen, left)
        # the removed one changes places with the last that is left, so that those left stay in front
        alive[[chosen, left - 1]] = alive[[left - 1, chosen]]
    return alive[::-1].copy(), added


class _State:
    """Inverse Gram matrix ``(K, K)`` and weights ``(C, s, M)`` of the channels that are left, in front.

    The inverse is the stored one minus ``PᵀP``, P the rows of the last few removals: their downdates are carried out
    together, which takes one pass over a large matrix instead of one for each. Its diagonal blocks are always current.
    """

    def __init__(self, problem: LeastSquares) -> None:
        count, self._size = problem.blocks.shape
        places = torch.from_numpy(problem.blocks.reshape(-1)).to(problem.gram.device)
        self._inverse = torch.cholesky_inverse(_factor(problem.gram))[places][:, places]
        blocks = self._inverse.reshape(count, self._size, count, self._size)
        self._own = blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()
        self._matrix = problem.matrix[places].reshape(count, self._size, -1)
        self._pending = self._inverse.new_zeros(TOGETHER * self._size, len(places))
        self._num_pending = 0

    def costs(self, left: int) -> Tensor:
        """What removing each channel adds to the error, ``(left,)``."""
        return _whitened(self._own[:left], self._matrix[:left]).square().sum((1, 2))

    def remove_(self, chosen: int, left: int) -> None:
        size, width = self._size, left * self._size
        here, last = slice(chosen * size, (chosen + 1) * size), slice(width - size, width)
        rows = self._pending[: self._num_pending]
        cross = self._inverse[here, :width] - rows[:, here].T @ rows[:, :width]
        whitened = _whitened(self._own[chosen, None], torch.cat([cross, self._matrix[chosen]], 1)[None])[0]
        cross, weights = whitened[:, :width], whitened[:, width:]
        self._matrix[:left] -= (cross.T @ weights).reshape(left, size, -1)
        blocks = cross.reshape(size, left, size).transpose(0, 1)
        self._own[:left] -= blocks.transpose(1, 2) @ blocks
        self._pending[self._num_pending : self._num_pending + size, :width] = cross
        self._num_pending += size
        for store in (self._own, self._matrix):
            store[chosen] = store[left - 1]
        self._inverse[here] = self._inverse[last]
        for store in (self._inverse, self._pending):
            store[:, here] = store[:, last]
        if self._num_pending == len(self._pending):
            rows = self._pending[:, : width - size]
            self._inverse[: width - size, : width - size].addmm_(rows.T, rows, alpha=-1)
            self._num_pending = 0


def _whitened(own: Tensor, values: Tensor) -> Tensor:
    """``L⁻¹ V`` with ``L Lᵀ`` the blocks."""
    return torch.linalg.solve_triangular(_factor(own), values, upper=False)


def _factor(matrices: Tensor) -> Tensor:
    """Cholesky factors; where rounding made a matrix indefinite, its diagonal grows until it is not."""
    spread = matrices.diagonal(dim1=-2, dim2=-1).abs().amax(-1, keepdim=True)[..., None].clamp_min(1e-300)
    eye = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    more = 0.0
    for power in range(-12, 4):
        factor, info = torch.linalg.cholesky_ex(matrices + more * spread * eye)
        if not info.any():
            break
        more = 10.0**power
    return factor
