"""Scores and budgets → a plan.

:func:`allocate` gives the plan; :func:`solve` gives the plan with the numbers behind it, an
:class:`Allocation`.

**Ranking.** Within a group the channels with the highest scores stay, always; equal scores are decided by
position, the lower index stays. ``how`` says how the cut is shared between the groups:

- ``"global"``: one threshold on the scores of the whole network. Needs scores that compare across layers.
- ``"uniform"``: the same pruning ratio in every group, up to rounding.
- ``"reconstruction"``: the least sum of the scores of what goes. Needs scores that add up across layers, such as the
  error that each removal costs.
- ``"per-group"``: the pruning ratios that ``ratios`` gives, by name pattern; the budget is only checked.

**Rounding.** Channels go in blocks, so that the widths that remain are multiples of ``round_to`` – of every
axis of every tensor that carries the group: where a channel stands for k positions of an axis, ``k · kept``
is the multiple. Axes narrower than ``round_to`` to begin with are not asked; a group with no other axes stays
whole. On an axis that several groups share (a concatenation), each group's part is rounded, and parts that
stay whole stay as they were. A width that is no multiple to begin with may stay whole, and goes down to a
multiple otherwise.

**Solve.** The blocks of all groups are sorted by importance, and bisection finds the threshold: how many must go to
meet every budget. Where that ends more than 1 % below the budget that binds, because its last block is large, blocks
near the threshold are decided on otherwise: some are put back, some exchanged, or the large one stays and smaller ones
go. Of the widths that hit the budget those that disagree least with the threshold are taken. Everything is decided on
counts alone, with the closed form of :class:`~convslim.measure.cost.CostModel`.

**Latency.** A layer's time is looked up in a table of measured shapes
(:class:`~convslim.measure.layer_times.LayerTimes`), and the sum is calibrated on the unpruned network. What the solver
finds is measured as a whole; where that is more than 5 % off, the expectation is corrected and the budget solved again
(:mod:`convslim.allocate.promise`).
"""

from convslim.allocate.allocation import Allocation, BudgetWarning, allocate, solve
from convslim.allocate.promise import Measured, Promise, Timing

__all__ = ["Allocation", "BudgetWarning", "Measured", "Promise", "Timing", "allocate", "solve"]
