"""When enough images were seen to give a candidate up."""

from __future__ import annotations

import math


def highest_share(correct: int, seen: int, total: int, error: float) -> float:
    """A share of all images that the accuracy exceeds with probability `error` at most, after some were seen.

        p ≤ k/n + √((1 - (n - 1)/N) · ln(1/δ) / 2n)    for k = correct of n = seen, drawn from N without replacement

    and never more than if all images still to come were right, which is certain.

    Args:
        correct: Images that were right, k.
        seen: Images that were looked at in random order, n.
        total: All images, N.
        error: δ.

    >>> round(highest_share(64, 128, 2000, 0.001), 3), highest_share(3, 10, 12, 0.001)
    (0.659, 0.4166666666666667)

    References:
        Serfling, *Probability inequalities for the sum in sampling without replacement*, Annals of Statistics 1974.
    """
    certain = (correct + total - seen) / total
    likely = correct / seen + math.sqrt((1 - (seen - 1) / total) * math.log(1 / error) / (2 * seen))
    return min(certain, likely)


def is_hopeless(correct: int, seen: int, total: int, *, below: float, looks: int, error: float) -> bool:
    """True if the accuracy on all images stays below a share.

    Args:
        correct: Images that were right.
        seen: Images that were looked at in random order.
        total: All images.
        below: The share.
        looks: How often the question is asked of one candidate, at most; the error is shared out among them.
        error: Probability, over the order of the images, with which a candidate is given up that would have reached
            the share.

    >>> is_hopeless(20, 128, 2000, below=0.7, looks=15, error=0.01)
    True
    """
    return highest_share(correct, seen, total, error / looks) < below
