"""One pass: what streams by gives what stored maps give, whatever the batches, and errors name their place."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.criteria.test_contract import TABLE, cases, traced
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

import convslim
from convslim import score, trace
from convslim.conformance.case import Case, fresh
from convslim.criteria.activeness import activeness
from convslim.criteria.observing import observe
from convslim.errors import DataError, ModelError

MIXED = {
    "batch_norm_batch_statistics",  # a normalization over the batch
    "mean_gate",  # multiplies with a mean over the batch
    "loop_over_batch",  # reads image by image: the first one is seen
}
"""Networks whose maps of one image depend on the other images, or that read the images one by one."""


def part(images: object, rows: slice) -> object:
    return tree_map_only(Tensor, lambda tensor: tensor[rows] if tensor.shape[:1] == (4,) else tensor, images)


@cases
def test_the_batch_size_does_not_matter(case: Case) -> None:
    if case.name in MIXED:
        pytest.skip("its images depend on each other")
    graph, model, images = traced(case.name), fresh(case), TABLE[case.name].example(4, 3)
    for name in ("activeness", "apoz"):
        whole = score(graph, model, name, batches=[(images, None)]).values
        parts = [(part(images, slice(2)), None), (part(images, slice(2, 4)), None)]
        found = score(graph, model, name, batches=iter(parts)).values
        for group, values in whole.items():
            np.testing.assert_allclose(found[group], values, rtol=1e-3, atol=1e-5, err_msg=f"{name} of {group}")


@pytest.mark.parametrize("name", ["resnet20_cifar", "resnet20_cifar_b"])
def test_streamed_relations_are_those_of_stored_maps(name: str) -> None:
    """Both ways of carrying a plan out; the first maps of every stage's trunk, and a hidden layer's."""
    torch.manual_seed(0)
    model = convslim.models.create(name).eval()
    images = torch.randn(6, 3, 32, 32)
    found = observe(trace(model, images[:1]), model, activeness(), images.split(4))
    stored: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(lambda module, inputs, name=name: stored.setdefault(name, inputs[0].clone()))
        for name, module in model.named_modules()
        if name in ("layer1.0.conv1", "layer1.0.conv2")
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    for group, reader in (("conv1", "layer1.0.conv1"), ("layer1.0.conv1", "layer1.0.conv2")):
        maps = stored[reader].flatten(2).double()
        active, difference = found[group][0].finish()
        torch.testing.assert_close(active, maps.std(-1, correction=0).mean(0), rtol=1e-5, atol=1e-7)
        expected = torch.cdist(maps, maps, compute_mode="donot_use_mm_for_euclid_dist").mean(0) / 1024**0.5
        torch.testing.assert_close(difference, expected, rtol=1e-5, atol=1e-7)


def test_no_batch() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    graph = trace(model, torch.zeros(1, 3, 4, 4))
    nothing: list[list[Any] | None] = [None, []]
    for batches in nothing:
        with pytest.raises(
            DataError, match=r"'normalized\(activeness\)' looks at feature maps, and no batch was given"
        ):
            score(graph, model, "activeness", batches=batches)


def test_a_batch_that_does_not_fit_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    graph = trace(model, torch.zeros(1, 3, 4, 4))
    with pytest.raises(ModelError, match="Sequential fails on calibration batch 1: RuntimeError"):
        score(graph, model, "apoz", batches=[(torch.zeros(1, 3, 4, 4), 0), (torch.zeros(1, 7, 4, 4), 0)])


def test_images_that_are_not_finite() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    graph = trace(model, torch.zeros(1, 3, 4, 4))
    with pytest.raises(ModelError, match=r"channel 0 of group '0' the score nan, .* in the images"):
        score(graph, model, "mean_activation", batches=[(torch.full((1, 3, 4, 4), torch.nan), 0)])


def test_channels_that_are_coupled_otherwise_on_the_batches() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.a(x).relu() if len(x) == 1 else self.a(x) + self.b(x))
            return out

    model = Net()
    graph = trace(model, torch.zeros(1, 3, 4, 4))
    with pytest.raises(ModelError, match="couples its channels otherwise on the calibration batches"):
        score(graph, model, "apoz", batches=[(torch.zeros(2, 3, 4, 4), 0)])


def test_integer_and_keyword_inputs() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.up, self.down = nn.Embedding(7, 6), nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, words: Tensor, scale: Tensor) -> Tensor:
            out: Tensor = self.down(self.up(self.table(words) * scale[:, None, None]).relu().mean(1))
            return out

    batch = {"words": torch.arange(10).reshape(2, 5) % 7, "scale": torch.ones(2)}
    found = score(trace(Net(), batch), Net(), "activeness", batches=[(batch, None)])
    assert found.values["up"].shape == (8,)
