"""Wilson's interval against its definition."""

import pytest

from convslim.measure.interval import wilson


@pytest.mark.parametrize(("successes", "total"), [(0, 5), (1, 2), (37, 40), (196, 196), (9_227, 10_000)])
def test_bounds_are_the_shares_that_the_observation_just_does_not_contradict(successes, total):
    for bound in wilson(successes, total):
        deviation = (successes / total - bound) ** 2 - 1.959964**2 * bound * (1 - bound) / total
        assert abs(deviation) < 1e-12
    low, high = wilson(successes, total)
    assert 0 <= low <= successes / total <= high <= 1
    assert low < high
