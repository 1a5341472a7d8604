"""`evaluate` counts exactly and leaves the model as found."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convslim import models
from convslim.data import open_data
from convslim.errors import DataError
from convslim.train import Metrics, evaluate


@pytest.mark.parametrize("batch_size", [7, 50, 1000])
def test_counts_and_loss_equal_one_pass_over_all_images(batch_size: int):
    torch.manual_seed(0)
    model, source = models.create("digits_cnn"), open_data("digits")
    found = evaluate(model, source.test, batch_size=batch_size, threads=1)
    assert isinstance(found, Metrics)
    images, labels = next(iter(source.test.batches(1000)))
    with torch.no_grad():
        scores = model.eval()(images)
    assert found.correct == int((scores.argmax(1) == labels).sum())
    assert found.total == len(labels) == 360
    assert found.loss == pytest.approx(float(F.cross_entropy(scores, labels)), rel=1e-5)
    assert found.accuracy == found.correct / 360
    assert found.labels is not None
    assert torch.equal(found.labels, labels)
    assert found.predictions is not None
    assert torch.equal(found.predictions, scores.argmax(1))


def test_training_flags_and_statistics_stay():
    model = models.create("digits_cnn").train()
    model.stem_bn.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, open_data("digits").test, limit=20, precision="bf16", channels_last=True)
    assert model.training
    assert not model.stem_bn.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_limit_is_a_number_of_images():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert evaluate(model, open_data("digits").test, limit=30, batch_size=8).total == 30


def test_nothing_to_evaluate_is_an_error():
    test = open_data("digits").test
    with pytest.raises(DataError, match="gave no image"):
        evaluate(nn.Flatten(), replace(test, rows=test.rows[:0]))
