"""How much memory a batch takes while it stands at a layer."""

import torch
from torch import nn

from convslim.surgery.reconstruction.footprint import footprint, num_fitting
from convslim.surgery.reconstruction.replay import Replay, replays

FLOAT = 4


def alive(replay: Replay) -> int:
    return FLOAT * sum(tensor.numel() for tensor in replay._values.values())


def test_a_batch_never_holds_more_than_is_said():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 4, 3),
        nn.Flatten(),
        nn.Linear(100, 2),
    ).eval()
    (replay,) = replays(model, [torch.randn(5, 3, 16, 16)])
    said = footprint(replay.tape)
    held = []
    for place in range(len(replay.calls)):
        replay.advance(place)
        held.append(alive(replay))
    assert all(now <= most for now, most in zip(held, said, strict=True))
    assert max(held) <= said[0] <= 2 * max(held)
    assert said == sorted(said, reverse=True)


def test_what_waits_for_later_layers_counts():
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return x + self.conv(x)

    (replay,) = replays(Skips().eval(), [torch.randn(2, 3, 8, 8)])
    assert footprint(replay.tape)[0] >= 2 * FLOAT * 2 * 3 * 64


def test_one_batch_at_least_and_no_more_than_fit():
    assert num_fitting([7, 7, 7], 6) == 1
    assert num_fitting([7, 7, 7], 14) == 2
    assert num_fitting([7, 7, 7], 100) == 3
