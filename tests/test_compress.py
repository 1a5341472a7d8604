"""From a trained network and images to a smaller one: budget met, original untouched, closer than the cut."""

import pytest
import torch
from torch import nn

import convslim
from convslim.compress import compress
from convslim.errors import BudgetError, DataError
from convslim.train import evaluate


@pytest.fixture(scope="module")
def trained():
    """The network of the digits, trained for a moment, and its images."""
    source = convslim.data.open_data("digits")
    torch.manual_seed(0)
    model = convslim.models.create("digits_cnn")
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    for epoch in range(3):
        for images, labels in source.train.batches(64, seed=0, epoch=epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    return model.eval(), torch.cat([x for x, _ in source.train.batches(100, limit=600)]), source


def accuracy(model, source):
    return evaluate(model, source.test).accuracy


def test_half_the_macs_for_little_accuracy(trained):
    model, images, source = trained
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    done = compress(model, images, {"macs": 0.5}, round_to=1)
    assert done.allocation.macs <= 0.5 * done.allocation.original_macs
    assert done.parity.agreement > done.parity_cut.agreement
    assert done.parity.kl < 0.5 * done.parity_cut.kl
    assert done.parity.num_images == 100
    assert done.reconstruction.num_images == 500
    assert accuracy(done.model, source) > accuracy(model, source) - 0.05
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_every_part_of_the_work_is_reported_to_its_end(trained):
    model, images, _ = trained
    seen = {}
    compress(model, images[:200], {"macs": 0.6}, watch=lambda *told: seen.setdefault(told[0], []).append(told[1:]))
    assert list(seen) == ["look at images", "measure removals", "refit layers"]
    for told in seen.values():
        total = told[0][1]
        assert told == [(done, total) for done in range(total + 1)]


def test_batches_do_as_well_as_a_tensor(trained):
    model, images, _ = trained
    whole = compress(model, images, {"macs": 0.6})
    parts = compress(model, images.split(100), {"macs": 0.6})
    assert whole.allocation.plan.kept == parts.allocation.plan.kept
    assert whole.parity == parts.parity


def test_layers_can_be_kept(trained):
    model, images, _ = trained
    graph = convslim.trace(model, images[:1])
    name = graph.prunable[0].name
    done = compress(model, images, {"params": 0.8}, keep=[name], round_to=1)
    assert len(done.allocation.plan.kept[name]) == graph.group(name).num_channels


def test_what_cannot_work_says_so(trained):
    model, images, _ = trained
    with pytest.raises(DataError, match="two batches at least"):
        compress(model, [images], {"macs": 0.5})
    with pytest.raises(BudgetError, match="no budget 'flops'"):
        compress(model, images, {"flops": 0.5})
