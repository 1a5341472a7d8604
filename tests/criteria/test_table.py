"""Names, and the options that go with them."""

import pytest
import torch
from torch import nn

from convslim import score, trace
from convslim.criteria import CRITERIA, named
from convslim.criteria.activeness import activeness
from convslim.errors import PlanError


def test_options_reach_the_criterion() -> None:
    assert named("activeness", {"difference": "cosine", "neighbors": 3}).name == (
        "normalized(activeness(difference=cosine, neighbors=3))"
    )
    assert {name: criterion.name for name, criterion in CRITERIA.items() if criterion.name == name} == {
        name: name for name in ("bn_scale", "taylor", "obd", "apoz", "random")
    }


def test_options_that_a_criterion_does_not_have() -> None:
    with pytest.raises(PlanError, match=r"'activeness' has no option 'diference'; .* Did you mean 'difference'\?"):
        named("activeness", {"diference": "cosine"})
    with pytest.raises(PlanError, match="'l1' has no option 'p'; it has none"):
        named("l1", {"p": 2})
    with pytest.raises(PlanError, match="no criterion 'hranks'"):
        named("hranks")


def test_score_takes_options() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1))
    images = torch.randn(4, 3, 8, 8)
    graph = trace(model, images[:1])
    found = score(graph, model, "activeness", options={"greedy": False}, batches=[(images, None)])
    assert found.criterion == "normalized(activeness(greedy=False))"
    own = score(graph, model, activeness(greedy=False), batches=[(images, None)]).values["0"]
    assert found.values["0"].tolist() == (own / own.mean()).tolist()
    with pytest.raises(PlanError, match="Options greedy were given beside the criterion 'activeness'"):
        score(graph, model, activeness(), options={"greedy": False})
    with pytest.raises(PlanError, match=r"no criterion 'reconstruction'|'reconstruction' has no option"):
        score(graph, model, "reconstruction", options={"greedy": False}, batches=[(images, None)])
