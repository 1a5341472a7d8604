"""How sure a measured share is."""

from __future__ import annotations

import math

Z_95 = 1.959964


def wilson(successes: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a share, 95 % unless another z is given.

    ``(p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n)`` for p = successes / n, n = total. It stays within 0…1 and
    has a width even where all of n succeed: 100 of 100 do not prove 100 %.

    References:
        Wilson, *Probable inference, the law of succession, and statistical inference*, JASA 1927.

    >>> [round(bound, 3) for bound in wilson(100, 100)], [round(bound, 3) for bound in wilson(1, 2)]
    ([0.963, 1.0], [0.095, 0.905])
    """
    assert 0 <= successes <= total > 0, "some of one or more"
    share, square = successes / total, z * z / total
    half = z * math.sqrt(share * (1 - share) / total + square / (4 * total))
    low, high = ((share + square / 2 + sign * half) / (1 + square) for sign in (-1, 1))
    # Rounding may put a bound on the wrong side of a share of 0 or 1.
    return min(max(low, 0.0), share), max(min(high, 1.0), share)


def paired_change(lost: int, won: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """Interval of the change of a share, where the same images were judged before and after.

    ``d ± z √((b + c + 1 - (c - b)²/(n + 2)) / (n + 2)²)`` with ``d = (c - b)/(n + 2)`` for b images lost, c won, of n:
    Wald's interval of paired shares after half an image was added to each of the four cells. It has a width even where
    nothing changed.

    References:
        Agresti and Min, *Simple improved confidence intervals for comparing matched proportions*, Statistics in
        Medicine 2005.

    >>> [round(bound, 3) for bound in paired_change(4, 1, 100)], [round(bound, 3) for bound in paired_change(0, 0, 20)]
    ([-0.076, 0.017], [-0.089, 0.089])
    """
    assert 0 <= lost + won <= total > 0, "some of one or more"
    size = total + 2
    middle = (won - lost) / size
    half = z * math.sqrt(lost + won + 1 - (won - lost) ** 2 / size) / size
    return max(middle - half, -1.0), min(middle + half, 1.0)
