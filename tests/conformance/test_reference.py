"""The masked original, against references written out by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convslim.conformance.case import Micro, call, fresh
from convslim.conformance.cases import CASES
from convslim.conformance.reference import numbers_of, run_reference

KEPT = [0, 2, 3, 6]


def reader(run: Callable[[Any, Tensor], Tensor], outputs: int = 8, inputs: int | None = None) -> nn.Module:
    """A convolution of 8 filters, something, and a convolution that reads it."""
    return Micro(run, a=nn.Conv2d(3, 8, 3), b=nn.Conv2d(inputs or outputs, 5, 1), norm=nn.LayerNorm(8)).eval()


def kept_of(*shape: int, dim: int) -> Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask.index_fill_(dim, torch.tensor(KEPT), True)
    return mask


def masks(model: Any) -> dict[str, Tensor]:
    """Half of the filters of `a` are gone, and what reads them in `b` if it reads as many."""
    found = {"a.weight": kept_of(8, 3, 3, 3, dim=0), "a.bias": kept_of(8, dim=0)}
    if model.b.in_channels == 8:
        found["b.weight"] = kept_of(5, 8, 1, 1, dim=1)
    return found


def by_hand(model: Any, middle: Callable[[Tensor], Tensor], columns: list[int]) -> Tensor:
    """The smaller network, written out: what is kept of `a`, the middle, what is kept of `b`."""
    x = F.conv2d(INPUT, model.a.weight[KEPT], model.a.bias[KEPT])
    return F.conv2d(middle(x), model.b.weight[:, columns], model.b.bias)


INPUT = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def agree(model: Any, expected: Tensor, renormalize: bool) -> bool:
    found = run_reference(model, INPUT, masks(model), renormalize)
    return torch.allclose(found, expected, atol=1e-5)


@torch.no_grad()
def test_without_masks_it_is_the_model() -> None:
    for case in CASES[::7]:
        model, example = fresh(case), case.example(2, 0)
        found, expected = (
            torch.utils._pytree.tree_leaves(result)
            for result in (run_reference(model, example, {}, renormalize=True), call(model, example))
        )
        assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True)), case.name


@torch.no_grad()
def test_readers_see_zeros() -> None:
    model = reader(lambda net, x: net.b(net.a(x).sigmoid()))
    assert agree(model, by_hand(model, torch.sigmoid, KEPT), renormalize=False)
    assert agree(model, by_hand(model, torch.sigmoid, KEPT), renormalize=True)


@torch.no_grad()
def test_a_sum_over_channels_reads_zeros_and_a_mean_divides_by_all_or_by_the_kept() -> None:
    summed = reader(lambda net, x: net.b(net.a(x).sum(1, keepdim=True)), 1)
    assert agree(summed, by_hand(summed, lambda x: x.sum(1, keepdim=True), [0]), renormalize=False)
    mean = reader(lambda net, x: net.b(net.a(x).mean(1, keepdim=True)), 1)
    assert agree(mean, by_hand(mean, lambda x: x.sum(1, keepdim=True) / 8, [0]), renormalize=False)
    assert agree(mean, by_hand(mean, lambda x: x.mean(1, keepdim=True), [0]), renormalize=True)


STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(1),
    "normalize": lambda x: F.normalize(x, dim=1),
    "centered": lambda x: x - x.mean(1, keepdim=True),
    "over_std": lambda x: x / (1 + x.std(1, keepdim=True)),
    "over_var": lambda x: x / (1 + x.var(1, keepdim=True, correction=0)),
    "over_max": lambda x: x - x.amax(1, keepdim=True),
    "over_min": lambda x: x - x.amin(1, keepdim=True),
    "over_logsumexp": lambda x: x - x.logsumexp(1, keepdim=True),
    "over_everything": lambda x: x * x.mean(),
    "var_mean": lambda x: (x - torch.var_mean(x, 1, keepdim=True)[1]) / (1 + torch.var_mean(x, 1, keepdim=True)[0]),
    "group_norm": lambda x: F.group_norm(x, 1),
    "rms_norm": lambda x: F.rms_norm(x.movedim(1, 3), (x.size(1),)).movedim(3, 1),
}


@pytest.mark.parametrize("name", STATISTICS)
@torch.no_grad()
def test_statistics_over_the_kept_channels(name: str) -> None:
    statistic = STATISTICS[name]
    model = reader(lambda net, x: net.b(statistic(net.a(x))))
    expected = by_hand(model, statistic, KEPT)
    assert agree(model, expected, renormalize=True)
    assert name == "normalize" or not agree(model, expected, renormalize=False)


@torch.no_grad()
def test_layer_norm_with_coefficients() -> None:
    model: Any = reader(lambda net, x: net.b(net.norm(net.a(x).movedim(1, 3)).movedim(3, 1)))
    nn.init.uniform_(model.norm.weight)
    given = {**masks(model), "norm.weight": kept_of(8, dim=0), "norm.bias": kept_of(8, dim=0)}
    norm = (model.norm.weight[KEPT], model.norm.bias[KEPT])
    expected = by_hand(model, lambda x: F.layer_norm(x.movedim(1, 3), (4,), *norm).movedim(3, 1), KEPT)
    assert torch.allclose(run_reference(model, INPUT, given, renormalize=True), expected, atol=1e-5)


@torch.no_grad()
def test_weights_standardized_over_their_inputs() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        flat = F.batch_norm(net.b.weight.reshape(1, 5, -1), None, None, training=True)
        return F.conv2d(net.a(x), flat.view_as(net.b.weight))

    model: Any = reader(run)
    x = F.conv2d(INPUT, model.a.weight[KEPT], model.a.bias[KEPT])
    weight = model.b.weight[:, KEPT]
    weight = F.batch_norm(weight.reshape(1, 5, -1), None, None, training=True).view_as(weight)
    assert agree(model, F.conv2d(x, weight), renormalize=True)


@torch.no_grad()
def test_products_of_maps_read_zeros() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        flat = net.a(x).flatten(2)
        return (flat.transpose(1, 2) @ flat).mean(2)

    model: Any = reader(run)
    x = F.conv2d(INPUT, model.a.weight[KEPT], model.a.bias[KEPT]).flatten(2)
    assert agree(model, (x.transpose(1, 2) @ x).mean(2), renormalize=False)


@torch.no_grad()
def test_writing_into_slices_is_followed() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        x = net.a(x)
        out = x.new_zeros(x.size(0), 9, *x.shape[2:])
        out[:, 1:] = x
        return out.sum(1)

    model: Any = reader(run)
    x = F.conv2d(INPUT, model.a.weight[KEPT], model.a.bias[KEPT])
    assert agree(model, x.sum(1), renormalize=False)


@torch.no_grad()
def test_a_new_tensor_of_another_one_s_shape_has_lost_nothing() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        total = torch.zeros_like(net.a(x))
        total += net.c(x)
        return total.sum(1)

    model: Any = Micro(run, a=nn.Conv2d(3, 8, 3), b=nn.Conv2d(3, 5, 1), c=nn.Conv2d(3, 8, 3)).eval()
    assert agree(model, model.c(INPUT).sum(1), renormalize=False)
    assert agree(model, model.c(INPUT).sum(1), renormalize=True)


@torch.no_grad()
def test_numbers_of_the_smaller_model_scale_the_renormalized_run_only() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        x = net.a(x)
        return x.sum(1) * x.size(1) ** -0.5

    model: Any = reader(run)
    small: Any = Micro(run, a=nn.Conv2d(3, 4, 3)).eval()
    small.a.weight.copy_(model.a.weight[KEPT])
    small.a.bias.copy_(model.a.bias[KEPT])
    expected = small(INPUT)
    assert not agree(model, expected, renormalize=True)
    numbers = numbers_of(small, INPUT)
    assert torch.allclose(run_reference(model, INPUT, masks(model), True, numbers), expected, atol=1e-5)
