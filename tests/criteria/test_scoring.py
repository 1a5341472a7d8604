"""What `score` refuses, and the record it returns."""

import json
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convslim import score, trace
from convslim.criteria import Criterion, Scores
from convslim.errors import ArtifactError, DataError, ModelError, PlanError


def network(width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.ReLU(), nn.Conv2d(width, 2, 1))


EXAMPLE = torch.zeros(1, 3, 4, 4)
NET = network()
GRAPH = trace(NET, EXAMPLE)


def test_unknown_criterion() -> None:
    with pytest.raises(PlanError, match=r"no criterion 'bn_scal'; known are bn_scale, .* Did you mean 'bn_scale'\?"):
        score(GRAPH, NET, "bn_scal")


def test_graph_of_another_model() -> None:
    with pytest.raises(PlanError, match=r"'0.weight' has the shape \(4, 3, 1, 1\) in the graph and \(5, 3, 1, 1\)"):
        score(GRAPH, network(5), "l1")
    with pytest.raises(PlanError, match=r"'2.weight' .* does not exist in the model"):
        score(GRAPH, nn.Sequential(nn.Conv2d(3, 4, 1)), "l1")


def test_gradients_need_batches() -> None:
    with pytest.raises(DataError, match="'taylor' needs gradients, and no batch was given"):
        score(GRAPH, NET, "taylor")
    with pytest.raises(DataError, match="no batch"):
        score(GRAPH, NET, "taylor", batches=[])


def test_a_batch_that_does_not_fit_is_named() -> None:
    good = (EXAMPLE, torch.zeros(1, 4, 4, dtype=torch.int64))
    with pytest.raises(ModelError, match="Sequential gives no gradients on batch 1: RuntimeError"):
        score(GRAPH, NET, "taylor", batches=[good, (torch.zeros(1, 7, 4, 4), good[1])])


def test_nothing_to_score() -> None:
    with pytest.raises(ModelError, match="'bn_scale' can score none of the 1 prunable groups, for example '0'"):
        score(GRAPH, NET, "bn_scale")


def test_weights_that_are_not_finite() -> None:
    net = network()
    net[0].get_parameter("weight").data[2] = torch.nan
    with pytest.raises(ModelError, match="channel 2 of group '0' the score nan"):
        score(trace(net, EXAMPLE), net, Criterion("sum", row_sums, needs_gradients=False, citation=""))


def row_sums(group: object, tensors: Mapping[str, Tensor], gradients: object) -> Tensor:
    return tensors["0.weight"].sum((1, 2, 3))


def test_a_criterion_of_ones_own() -> None:
    found = score(GRAPH, NET, Criterion("sum", row_sums, needs_gradients=False, citation="mine"))
    assert found.criterion == "sum"
    assert np.allclose(found.values["0"], NET[0].get_parameter("weight").detach().sum((1, 2, 3)).numpy())


def test_a_criterion_with_the_wrong_shape() -> None:
    wrong = Criterion("wrong", lambda *_: torch.zeros(3), needs_gradients=False, citation="")
    with pytest.raises(ModelError, match=r"'wrong' gave group '0' scores of shape \(3,\); one per channel"):
        score(GRAPH, NET, wrong)


def test_scores_survive_json_to_the_last_bit() -> None:
    found = score(GRAPH, NET, "l1")
    back = Scores.from_json(found.to_json())
    assert (back.criterion, back.structure, back.unscored) == (found.criterion, found.structure, found.unscored)
    assert np.array_equal(back.values["0"], found.values["0"])
    assert back.values["0"].dtype == np.float64


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{}", json.dumps({"criterion": "", "structure": "", "values": {"a": ["x"]}, "unscored": []})],
)
def test_text_that_holds_no_scores(text: str) -> None:
    with pytest.raises(ArtifactError, match="not a record of scores"):
        Scores.from_json(text)
