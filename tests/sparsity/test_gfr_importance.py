"""Relationship factors as means over images, and the importances made of them."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convslim.channels.trace import trace
from convslim.criteria import Scores, score
from convslim.errors import DataError, ModelError, PlanError
from convslim.sparsity import Importance, attach_relations_, relation_importance, relationship_factors
from convslim.sparsity.gfr_attach import relation_at

X = torch.randn(4, 1, 8, 8)


def network() -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6), nn.ReLU()
    )
    model.append(nn.Conv2d(6, 3, 1))
    for name in ("1.weight", "4.weight"):
        nn.init.normal_(model.get_parameter(name))
    return model.eval()


def factors_and_scales() -> tuple[nn.Sequential, dict[str, Tensor], dict[str, Tensor]]:
    model = network()
    factors = {"1": torch.linspace(0.2, 0.9, 8), "4": torch.linspace(0.6, 0.1, 6)}
    return model, factors, {name: model.get_parameter(f"{name}.weight").detach() for name in factors}


def scored(how: Importance, model: nn.Module, factors: dict[str, Tensor], weight: float = 0.5) -> Scores:
    scales = {name: model.get_parameter(f"{name}.weight").detach() for name in factors}
    return score(trace(model, X), model, relation_importance(factors, scales, how, weight))


def test_factors_are_means_over_all_images():
    model = network()
    relations, _ = attach_relations_(model, trace(model, X))
    relation = relation_at(model, relations.places[0])
    with torch.no_grad():
        nn.init.zeros_(relation.excite.weight)  # then the norm's hook halves
        z = model[1](model[0](X)).mul(2).mean((2, 3))
        nn.init.normal_(relation.excite.weight)
        expected = torch.sigmoid(4 * relation.excite(torch.relu(relation.squeeze(z)))).mean(0)
    whole = relationship_factors(model, [X])["1"]
    parts = relationship_factors(model, [X[:1], X[1:]])["1"]
    torch.testing.assert_close(whole, expected.double(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-7)


def test_measuring_leaves_the_model_alone():
    model = network().train()
    relations, _ = attach_relations_(model, trace(model, X))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    relationship_factors(model, [X])
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(relation_at(model, place).excite._forward_hooks for place in relations.places)


def test_without_images_there_are_no_factors():
    model = network()
    attach_relations_(model, trace(model, X))
    with pytest.raises(DataError, match="No image"):
        relationship_factors(model, [])


def test_importances_are_their_formulas():
    model, factors, scales = factors_and_scales()
    sr, gamma = factors["1"].double().numpy(), scales["1"].abs().double().numpy()
    largest = max(float(values.abs().max()) for values in scales.values())
    expected = {
        "product": sr * gamma,
        "gamma": gamma,
        "sr": sr,
        "weighted": 0.3 * sr / sr.max() + 0.7 * gamma / largest,
    }
    for how in get_args(Importance):
        np.testing.assert_allclose(scored(how, model, factors, 0.3).values["0"], expected[how], rtol=1e-6)


@pytest.mark.parametrize(("how", "same"), [("product", True), ("gamma", False), ("sr", False), ("weighted", False)])
def test_only_the_product_is_blind_to_a_trade_between_factor_and_scale(how: Importance, same: bool):
    model, factors, _ = factors_and_scales()
    before = scored(how, model, factors).values["0"]
    trade = torch.linspace(0.5, 1.1, 8)
    factors["1"] = factors["1"] * trade
    with torch.no_grad():
        model.get_parameter("1.weight").div_(trade)
    assert np.allclose(scored(how, model, factors).values["0"], before, rtol=1e-6) == same


def test_inner_channels_of_the_modules_have_no_score():
    model = network()
    attach_relations_(model, trace(model, X))
    factors = relationship_factors(model, [X])
    scores = scored("product", model, factors)
    assert sorted(scores.values) == ["0", "3"]
    assert sorted(scores.unscored) == ["1.gfr.squeeze", "4.gfr.squeeze"]


def test_a_norm_without_a_module_counts_with_factor_one():
    model, factors, scales = factors_and_scales()
    del factors["4"]
    found = scored("product", model, factors).values["3"]
    np.testing.assert_allclose(found, scales["4"].abs().double().numpy())


def test_unknown_importances_are_refused():
    _, factors, scales = factors_and_scales()
    with pytest.raises(PlanError, match="Did you mean 'product'"):
        relation_importance(factors, scales, "produkt")


def test_a_network_without_modules_has_no_factors():
    with pytest.raises(ModelError, match="Put them in and train first"):
        relationship_factors(network(), [X])
