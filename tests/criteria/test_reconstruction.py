"""Error curves: what is redundant is free, the order is the permuted network's, scores add up to the error."""

import numpy as np
import pytest
import torch
from torch import nn

import convslim
from convslim.criteria import score
from convslim.criteria.reconstruction import ErrorCurve, ErrorCurves, error_curves
from convslim.errors import DataError, ModelError


@pytest.fixture
def images():
    return torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def plain():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 16, 5),
    ).eval()  # fmt: skip


def curves(model, images, **options):
    return error_curves(convslim.trace(model, images[:1]), model, images.split(10), **options)


def test_every_group_that_layers_read_has_a_curve(images):
    found = curves(plain(), images)
    assert set(found.curves) == {"0", "3"}
    for curve, channels in ((found.curves["0"], 8), (found.curves["3"], 6)):
        assert sorted(curve.order.tolist()) == list(range(channels))
        assert curve.error.shape == (channels + 1,)
        assert curve.error[0] == 0
        assert (np.diff(curve.error) >= 0).all()


def test_removing_everything_costs_about_the_whole_variance(images):
    found = curves(plain().double(), images.double(), per_image=64)
    assert found.curves["0"].error[-1] == pytest.approx(1, abs=0.05)


def test_doubled_channels_are_free(images):
    model = plain()
    with torch.no_grad():
        model[0].weight[5:8] = model[0].weight[:3]
    curve = curves(model, images).curves["0"]
    assert curve.error[3] < 0.03 * curve.error[4]
    assert {5, 6, 7, 0, 1, 2} >= set(curve.order[:3].tolist())


def test_the_batch_size_does_not_matter(images):
    model = plain().double()
    graph = convslim.trace(model, images[:1].double())
    first, second = (error_curves(graph, model, images.double().split(size)) for size in (7, 40))
    for name, curve in first.curves.items():
        assert (curve.order == second.curves[name].order).all()
        assert np.allclose(curve.error, second.curves[name].error)


def test_permuted_channels_are_permuted_scores(images):
    model, other = plain(), plain()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        other[0].weight.copy_(model[0].weight[order])
        other[3].weight.copy_(model[3].weight[:, order])
    first, second = (curves(each, images).scores().values["0"] for each in (model, other))
    assert np.allclose(first[order.numpy()], second, rtol=1e-3)


def test_several_readers_add_up(images):
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 3)
            self.left, self.right = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 3, groups=2)

        def forward(self, x):
            x = self.stem(x).relu()
            return self.left(x).mean((2, 3)), self.right(x).mean((2, 3))

    torch.manual_seed(0)
    found = curves(Fork().double(), images.double(), per_image=64)
    assert found.curves["stem"].error[-1] == pytest.approx(2, abs=0.1)
    assert set(found.curves) == {"stem"}


def test_concatenated_groups_are_scored_apart(images):
    class Concat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)
            self.head = nn.Conv2d(10, 5, 3)

        def forward(self, x):
            return self.head(torch.cat([self.a(x), self.b(x)], 1).relu())

    torch.manual_seed(0)
    model = Concat()
    with torch.no_grad():
        model.head.weight[:, 4 + 2] = 0  # the third channel of b is read with zeros
    found = curves(model, images)
    assert found.curves["b"].order[0] == 2
    assert found.curves["b"].error[1] < 1e-9
    assert len(found.curves["a"].order) == 4


def test_scores_add_up_to_the_error_and_keep_the_order():
    curve = ErrorCurve(np.array([2, 0, 3, 1]), np.array([0.0, 3.0, 4.0, 6.0, 16.0]))
    values = ErrorCurves("s", {"g": curve}, ()).scores().values["g"]
    assert np.argsort(values).tolist() == [2, 0, 3, 1]
    assert np.allclose(np.cumsum(np.sort(values)), [2, 4, 6, 16])  # 3, 1, 2 are pooled


def test_score_knows_the_name(images):
    model = plain()
    graph = convslim.trace(model, images[:1])
    scores = score(graph, model, "reconstruction", batches=[(images, torch.zeros(40))])
    assert scores.criterion == "reconstruction"
    assert np.allclose(scores.values["0"], error_curves(graph, model, [images]).scores().values["0"])


def test_the_model_is_left_as_found(images):
    model = plain().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    curves(model, images)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_no_images_and_bad_numbers_are_errors(images):
    model = plain()
    graph = convslim.trace(model, images[:1])
    with pytest.raises(DataError, match="no calibration batch"):
        score(graph, model, "reconstruction")
    with pytest.raises(ModelError, match="not finite"):
        error_curves(graph, model, [images * float("nan")])
