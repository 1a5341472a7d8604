"""What the method must find, every option against its formula, and greedy removal against the slow way."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convslim import score, trace
from convslim.criteria.activeness import activeness
from convslim.criteria.greedy import Neighbors, removal_scores
from convslim.criteria.relations import Relations
from convslim.errors import PlanError


def relations(maps: Tensor, **options: str) -> tuple[Tensor, Tensor]:
    return Relations.of(maps, options.get("activity", "std"), options.get("distance", "euclidean")).finish()


def scores(maps: Tensor, *more: Tensor, **options: Any) -> np.ndarray:
    """Scores of a group that is seen at one or several places."""
    criterion = activeness(**options)
    found = criterion.function(None, [criterion.look(place) for place in (maps, *more)])  # type: ignore[arg-type]
    assert found is not None
    return found.numpy()


def independent(channels: int = 8, images: int = 5, seed: int = 0) -> Tensor:
    """Maps of ReLU type that have nothing to do with each other, all equally active."""
    return torch.randn(images, channels, 6, 6, generator=torch.Generator().manual_seed(seed)).relu()


# ---- oracles ------------------------------------------------------------------------------------------------


def test_one_of_two_duplicates_goes_first_and_its_twin_ranks_normally() -> None:
    maps = independent()
    maps[:, 5] = maps[:, 2]
    found = scores(maps)
    first, second = np.argsort(found)[:2]
    assert first in (2, 5)
    assert second not in (2, 5)
    assert found[first] < 1e-6
    twin = found[7 - first]
    others = np.delete(found, [2, 5])
    assert others.min() * 0.8 < twin < others.max() * 1.2


def test_without_greed_both_duplicates_look_replaceable() -> None:
    maps = independent()
    maps[:, 5] = maps[:, 2]
    found = scores(maps, greedy=False)
    assert set(np.argsort(found)[:2]) == {2, 5}
    assert found[[2, 5]].max() < 1e-6


def test_a_dead_filter_has_no_importance() -> None:
    maps = independent()
    maps[:, 3] = 0
    assert scores(maps)[3] == 0
    assert scores(maps, difference="cosine", greedy=False)[3] == 0
    assert np.delete(scores(maps), 3).min() > 0


def test_the_mean_hardly_sees_a_duplicate_and_the_nearest_does() -> None:
    maps = independent(16)
    maps[:, 5] = maps[:, 2]

    def nearness(neighbors: Any) -> tuple[float, float]:
        found = 1 - scores(maps, neighbors=neighbors, combination="sum", balance=0.0, greedy=False)
        return found[2], float(np.median(found))

    seen, median = nearness(1)
    assert seen > 0.99
    assert median < 0.4
    seen, median = nearness("all")
    assert seen - median < 0.05


def test_a_distinct_filter_and_one_of_many_alike_stay_longest() -> None:
    maps = independent() * 0.05 + independent(1, seed=1)
    maps[:, 6] = independent(1, seed=2)[:, 0]
    found = scores(maps)
    assert 6 in np.argsort(found)[-2:]
    assert np.sort(found)[-2] > 3 * np.sort(found)[-3]


def test_in_a_network_the_duplicate_goes_and_the_graph_knows_where() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    with torch.no_grad():
        for tensor in model[0].parameters():
            tensor[5] = tensor[2]
    images = torch.randn(8, 3, 12, 12)
    found = score(trace(model, images[:1]), model, "activeness", batches=[(images, None)]).values["0"]
    assert set(np.argsort(found)[:1]) <= {2, 5}
    assert found.mean() == pytest.approx(1)


# ---- formulas -----------------------------------------------------------------------------------------------


def test_differences_and_activeness_the_slow_way() -> None:
    maps = independent(5, 4).double() - 0.3
    flat = maps.flatten(2)
    expected = torch.stack(
        [torch.stack([(flat[:, i] - flat[:, j]).norm(dim=-1).mean() / 6 for j in range(5)]) for i in range(5)]
    )
    active, difference = relations(maps)
    torch.testing.assert_close(difference, expected)
    torch.testing.assert_close(active, flat.std(-1, correction=0).mean(0))
    torch.testing.assert_close(relations(maps, activity="mean_abs")[0], flat.abs().mean((0, 2)))
    torch.testing.assert_close(relations(maps, activity="l2")[0], flat.norm(dim=-1).mean(0) / 6)
    clipped = flat.relu()
    torch.testing.assert_close(relations(clipped, activity="apoz")[0], (clipped != 0).double().mean((0, 2)))
    cosine = nn.functional.cosine_similarity(flat[:, :, None], flat[:, None], dim=-1).abs()
    torch.testing.assert_close(relations(maps, distance="cosine")[1], (1 - cosine).mean(0).fill_diagonal_(0))


def test_single_values_are_as_active_as_they_are_large() -> None:
    values = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    active, difference = relations(values)
    assert active.tolist() == [2, 1]
    assert difference.tolist() == [[0, 3], [3, 0]]


def test_maps_of_zeros_differ_from_others_only() -> None:
    maps = independent(4)
    maps[:, :2] = 0
    assert relations(maps, distance="cosine")[1][0].tolist() == [0, 0, 1, 1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.integers(1, 400))
def test_equal_maps_have_no_distance(seed: int, size: float, positions: int) -> None:
    """The bound that the docstring promises, for maps of any scale far from zero."""
    maps = (torch.randn(2, 6, positions, generator=torch.Generator().manual_seed(seed)) + 5) * 10**size
    maps[:, 4] = maps[:, 1]
    norm = maps[:, 1].double().norm(dim=-1).max()
    bound = (4 * positions * 2.0**-53) ** 0.5 * norm / positions**0.5
    assert relations(maps)[1][1, 4] <= bound


def test_merged_records_are_those_of_all_images() -> None:
    maps = independent(5, 7)
    one, two = (Relations.of(part, "std", "euclidean") for part in maps.split([3, 4]))
    for found, expected in zip(one.merge(two).finish(), relations(maps), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_importance_of_every_option() -> None:
    maps = independent(6)
    active, difference = (part.numpy() for part in relations(maps))
    active = active / active.max()
    nearest = np.sort(difference + np.diag([np.inf] * 6), 1)[:, :5]
    nearness = {key: np.exp(-d / d.mean()) for key, d in
                ((1, nearest[:, 0]), (3, nearest[:, :3].mean(1)), ("all", nearest.mean(1)))}  # fmt: skip
    for key, near in nearness.items():
        found = scores(maps, neighbors=key, greedy=False)
        np.testing.assert_allclose(found, active * (1 - near))
    np.testing.assert_allclose(scores(maps, orientation="typical", greedy=False), active * nearness[1])
    found = scores(maps, combination="sum", balance=0.3, greedy=False)
    np.testing.assert_allclose(found, 0.3 * active + 0.7 * (1 - nearness[1]))


def test_scale_of_a_group_does_not_matter() -> None:
    maps = independent()
    np.testing.assert_allclose(scores(maps), scores(maps * 1000), rtol=1e-6)


# ---- several places -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("over", "combine"), [("mean", np.mean), ("sum", np.sum), ("max", np.max)])
def test_places_are_combined(over: Any, combine: Any) -> None:
    places = [independent(6, seed=seed) for seed in (1, 2, 3)]
    found = scores(*places, over=over, greedy=False)
    np.testing.assert_allclose(found, combine([scores(maps, greedy=False) for maps in places], axis=0))


def test_a_channel_goes_at_all_places_at_once() -> None:
    """A duplicate at one place that is distinct at the other is needed."""
    one, two = independent(seed=1), independent(seed=2)
    one[:, 5] = one[:, 2]
    two[:, 7] = two[:, 1]
    found = scores(one, two, over="max")
    assert found[[2, 5, 1, 7]].min() > 0.5 * np.median(found)
    two[:, 5] = two[:, 2]
    first = int(np.argmin(scores(one, two, over="max")))
    assert first in (2, 5)


# ---- greedy removal -----------------------------------------------------------------------------------------


def slow(differences: np.ndarray, active: np.ndarray, count: int) -> list[int]:
    """Rows and columns deleted one by one, everything taken anew but the mean distance."""
    left, order, usual = list(range(len(active))), [], 0.0
    while left:
        distance = differences[np.ix_(left, left)] + np.diag([np.inf] * len(left))
        near = np.sort(distance, 1)[:, : max(min(count, len(left) - 1), 1)].mean(1)
        usual = usual or near.mean()
        worth = 1 - np.exp(-near / usual) if len(left) > 1 else np.ones(1)
        order.append(left.pop(int(np.argmin(active[left] * worth))))
    return order


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12))
def test_removal_is_that_of_deleted_rows_and_columns(seed: int, channels: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    differences = rng.uniform(0.1, 1, (channels, channels))
    differences = np.triu(differences, 1) + np.triu(differences, 1).T
    active = rng.uniform(0.1, 1, channels)
    found = removal_scores(Neighbors(differences[None], count), lambda near: active * (1 - near[0]), channels)
    assert np.argsort(found, kind="stable").tolist() == slow(differences, active, count)
    assert (np.diff(np.sort(found)) >= 0).all()


def test_scores_never_fall_along_the_order_and_equal_ones_keep_it() -> None:
    maps = independent(24)
    maps[:, 12:] = maps[:, :12]
    found = scores(maps)
    copies = np.sort(found)[:12]
    assert copies.max() < 1e-6
    removed = set(np.argsort(found)[:12] % 12)
    assert removed == set(range(12)), "one of each pair goes before any second one"


def test_one_channel_alone() -> None:
    assert scores(independent(1)).tolist() == [1]
    assert scores(torch.zeros(2, 3, 4, 4)).tolist() == [0, 0, 0]


# ---- options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activeness": "stdd"}, r"activeness is 'stdd'; it is one of std, .* Did you mean 'std'\?"),
        ({"difference": "l1"}, "difference is 'l1'; it is one of euclidean, cosine"),
        ({"neighbors": 0}, "neighbors is 0; it is a whole number from 1 on, or 'all'"),
        ({"neighbors": True}, "neighbors is True"),
        ({"combination": "min"}, "combination is 'min'"),
        ({"balance": 2}, "balance is 2; it is a number from 0 to 1"),
        ({"orientation": "up"}, "orientation is 'up'"),
        ({"over": "median"}, "over is 'median'; it is one of mean, sum, max"),
    ],
)
def test_options_that_do_not_exist(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        activeness(**options)
