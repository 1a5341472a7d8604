"""Statistics over full vector registers are those of BatchNorm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convslim.search.evaluation_statistics import Estimating, is_plain, moments, normalized


@pytest.mark.parametrize("shape", [(4, 11, 8, 8), (3, 5, 7, 3), (2, 1, 4, 4), (1, 64, 2, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moments_are_those_of_the_map(shape: tuple[int, ...], dtype: torch.dtype):
    x = (torch.randn(shape) * 2 + 3).to(dtype).contiguous(memory_format=torch.channels_last)
    mean, variance = moments(x)
    torch.testing.assert_close(mean, x.float().mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(variance, x.float().var((0, 2, 3), unbiased=False), rtol=1e-4, atol=1e-5)


def test_normalized_is_what_batchnorm_gives():
    norm = nn.BatchNorm2d(11).train()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(4, 11, 6, 5).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(normalized(x, *moments(x), norm), norm(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_average_over_batches_is_batchnorms(layout: torch.memory_format):
    """Uneven batches, too: every batch counts the same, as with `momentum=None`."""
    ours, theirs = nn.BatchNorm2d(6).train(), nn.BatchNorm2d(6).train()
    ours.momentum = theirs.momentum = None
    estimating = Estimating(ours)
    with torch.no_grad():
        for size in (4, 4, 2):
            x = (torch.randn(size, 6, 5, 5) + 1).contiguous(memory_format=layout)
            torch.testing.assert_close(estimating(x), theirs(x), rtol=1e-4, atol=1e-5)
    estimating.end_()
    assert ours.running_mean is not None
    assert ours.running_var is not None
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-4, atol=1e-6)


def test_only_batchnorms_that_do_what_their_class_does_are_replaced():
    class Own(nn.BatchNorm2d):
        pass

    hooked = nn.BatchNorm2d(4)
    hooked.register_forward_hook(lambda *_: None)
    assert is_plain(nn.BatchNorm2d(4))
    assert not is_plain(Own(4))
    assert not is_plain(hooked)
    assert not is_plain(nn.BatchNorm2d(4, track_running_stats=False))
    assert not is_plain(nn.GroupNorm(2, 4))
