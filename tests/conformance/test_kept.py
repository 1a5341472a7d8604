"""What is left of a model is found by value, whatever the tool did to get there."""

from typing import Any

import torch
from torch import nn

from convslim.conformance.case import make_distinct_
from convslim.conformance.kept import find_kept, untied, width_of


def two_layers() -> Any:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 1, bias=False))
    make_distinct_(model)
    return model


def cut(model: Any, kept: list[int]) -> Any:
    small: Any = nn.Sequential(nn.Conv2d(3, len(kept), 1), nn.Conv2d(len(kept), 4, 1, bias=False))
    with torch.no_grad():
        small[0].weight.copy_(model[0].weight[kept])
        small[0].bias.copy_(model[0].bias[kept])
        small[1].weight.copy_(model[1].weight[:, kept])
    return small


def test_rows_and_columns_that_are_gone() -> None:
    model = two_layers()
    found = find_kept(model, cut(model, [5, 0, 2]))
    assert set(found.masks) == {"0.weight", "0.bias", "1.weight"}
    assert found.masks["0.bias"].tolist() == [True, False, True, False, False, True]
    assert found.masks["0.weight"].all((1, 2, 3)).tolist() == found.masks["0.bias"].tolist()
    assert found.masks["1.weight"].all((0, 2, 3)).tolist() == found.masks["0.bias"].tolist()
    assert found.foreign == ()


def test_nothing_is_gone_from_a_copy() -> None:
    model = two_layers()
    assert find_kept(model, model).masks == {}


def test_values_of_nowhere_are_foreign() -> None:
    model = two_layers()
    small = cut(model, [0, 1])
    with torch.no_grad():
        small[1].weight[0, 0] += 0.5
    assert find_kept(model, small).foreign == ("1.weight",)


def test_tensors_are_found_under_other_names() -> None:
    model = two_layers()
    small = nn.ModuleDict({"inner": cut(model, [1, 4])})
    assert find_kept(model, small).masks["0.bias"].tolist() == [False, True, False, False, True, False]


def test_a_tensor_with_repeated_values_says_nothing() -> None:
    model, small = nn.Module(), nn.Module()
    model.blur, small.blur = nn.Buffer(torch.ones(8, 1, 3, 3)), nn.Buffer(torch.ones(2, 1, 3, 3))
    assert find_kept(model, small).masks == {}


def test_a_shared_weight_of_which_two_layers_keep_different_parts_is_untied() -> None:
    model: Any = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    small: Any = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False))
    with torch.no_grad():
        small[0].weight.copy_(model[0].weight[:2])
        small[1].weight.copy_(model[1].weight[:, :2])
    apart = untied(model, find_kept(model, small))
    assert apart.get_parameter("0.weight") is not apart.get_parameter("1.weight")
    assert torch.equal(apart.get_parameter("0.weight"), apart.get_parameter("1.weight"))
    assert model[0].weight is model[1].weight
    together = untied(model, find_kept(model, model))
    assert together.get_parameter("0.weight") is together.get_parameter("1.weight")


def test_width() -> None:
    model = nn.ModuleDict({"conv": nn.Conv2d(3, 6, 1), "up": nn.ConvTranspose2d(3, 7, 2), "raw": nn.Identity()})
    model.raw_weight = nn.Parameter(torch.zeros(5, 3))
    assert [width_of(model, name) for name in ("conv", "up", "raw_weight", "raw", "none")] == [6, 7, 5, 0, 0]
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 6, 1))
    assert width_of(nn.ModuleDict({"conv": normed}), "conv") == 6
