"""Which channels matter.

A criterion is data in, data out. The function of one that looks at weights, and perhaps their gradients, has the
signature

    (group: ChannelGroup, tensors: Mapping[str, Tensor], gradients: Mapping[str, Tensor] | None)
        -> Tensor | None

and gives one float64 number per channel of the group, shape ``(num_channels,)``; **higher = more important**.
It may return None, which says that it has no opinion about this group: the group is then listed in
``Scores.unscored`` and no allocation cuts it. A group's channels can be made by several coupled layers and
stand at several positions of a tensor; every criterion says how it combines them.

All criteria obey the same laws, and one test holds every entry of the table to them: the right shape, finite,
deterministic, the model left untouched, and equivariant – permute the channels and the scores permute with
them.

One that looks at feature maps, an :class:`ActivationCriterion`, sees those of every group while calibration images pass
the network once, see :mod:`convslim.criteria.activations`.

One more name, ``"reconstruction"``, is no such function: what a removal costs after refitting depends on the images and
on the channels that went before, see :mod:`convslim.criteria.reconstruction`.

To add one, write a file like ``l1.py`` and pass the criterion to :func:`score`, or give it a row in
:data:`CRITERIA`.
"""

from convslim.criteria.activations import ActivationCriterion
from convslim.criteria.criterion import Criterion, ScoreFunction
from convslim.criteria.normalized import normalized
from convslim.criteria.scores import Scores
from convslim.criteria.scoring import score
from convslim.criteria.table import CRITERIA, NAMES, AnyCriterion, named

__all__ = [
    "CRITERIA",
    "NAMES",
    "ActivationCriterion",
    "AnyCriterion",
    "Criterion",
    "ScoreFunction",
    "Scores",
    "named",
    "normalized",
    "score",
]
