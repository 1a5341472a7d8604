"""Feature maps are looked at where the consumers read them, in whatever layout that is."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convslim import trace
from convslim.criteria.activations import ActivationCriterion, Average
from convslim.criteria.observing import observe
from convslim.criteria.places import places


def seen_of(model: nn.Module, images: Tensor) -> dict[str, list[Tensor]]:
    """The maps that a criterion is shown, by group."""
    shown: list[Tensor] = []

    def look(maps: Tensor) -> Average:
        shown.append(maps.clone())
        return Average(len(shown) - 1, torch.zeros(maps.shape[1]))

    criterion = ActivationCriterion("look", look, lambda *_: None, "")
    found = observe(trace(model, images[:1]), model, criterion, [images])
    return {name: [shown[average.images] for average in averages] for name, averages in found.items()}


IMAGES = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def conv_norm(*args: Any, **options: Any) -> nn.Sequential:
    layer = nn.Sequential(nn.Conv2d(*args, **options), nn.BatchNorm2d(args[1]), nn.ReLU())
    layer[1].running_mean = torch.rand(args[1]) - 0.5
    return layer.eval()


def test_behind_normalization_and_activation() -> None:
    model = nn.Sequential(conv_norm(3, 5, 3), nn.Conv2d(5, 2, 1)).eval()
    (maps,) = seen_of(model, IMAGES)["0.0"]
    assert torch.equal(maps, model[0](IMAGES))
    assert maps.min() == 0


def test_behind_depthwise_layers() -> None:
    model = nn.Sequential(conv_norm(3, 5, 3), conv_norm(5, 5, 3, groups=5), nn.Conv2d(5, 2, 1)).eval()
    (maps,) = seen_of(model, IMAGES)["0.0"]
    assert torch.equal(maps, model[:2](IMAGES))


class Residual(nn.Module):
    """A trunk made by the stem, two blocks and a shortcut of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 6, 1)
        self.inner = nn.ModuleList(conv_norm(6, 4, 1) for _ in range(2))
        self.outer = nn.ModuleList(nn.Conv2d(4, 6, 1) for _ in range(2))
        self.shortcut = nn.Conv2d(6, 6, 1)
        self.head = nn.Conv2d(6, 2, 1)

    def trunks(self, x: Tensor) -> list[Tensor]:
        found = [self.stem(x)]
        for number, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            beside = self.shortcut(found[-1]) if number else found[-1]
            found.append((beside + outer(inner(found[-1]))).relu())
        return found

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.trunks(x)[-1])
        return scores


def test_every_producer_of_a_trunk_is_seen_in_the_first_sum_that_is_read() -> None:
    model = Residual().eval()
    found = seen_of(model, IMAGES)
    trunks = model.trunks(IMAGES)
    # one trunk of 6 channels up to the second block, whose shortcut is a layer, and one behind
    assert {name: len(maps) for name, maps in found.items()} == {
        "stem.0": 2,
        "inner.0.0": 1,
        "inner.1.0": 1,
        "shortcut": 1,
    }
    for maps, trunk in zip([*found["stem.0"], *found["shortcut"]], trunks, strict=True):
        assert torch.equal(maps, trunk)


def test_the_parts_of_a_concatenation() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 1)
            self.norm, self.head = nn.BatchNorm2d(9), nn.Conv2d(9, 2, 1)

        def both(self, x: Tensor) -> Tensor:
            joined: Tensor = self.norm(torch.cat([self.a(x), self.b(x)], 1)).relu()
            return joined

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.both(x))
            return out

    model = Net().eval()
    found = seen_of(model, IMAGES)
    assert torch.equal(found["a"][0], model.both(IMAGES)[:, :4])
    assert torch.equal(found["b"][0], model.both(IMAGES)[:, 4:])


def test_tokens() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 2, stride=2)
            self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 12), nn.Linear(12, 8)
            self.head = nn.Linear(8, 2)

        def hidden(self, tokens: Tensor) -> Tensor:
            return nn.functional.gelu(self.up(self.norm(tokens)))

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.embed(x).flatten(2).transpose(1, 2)
            out: Tensor = self.head((tokens + self.down(self.hidden(tokens))).mean(1))
            return out

    model = Block().eval()
    hidden = model.hidden(model.embed(IMAGES).flatten(2).transpose(1, 2))
    (maps,) = seen_of(model, IMAGES)["up"]
    torch.testing.assert_close(maps, hidden.transpose(1, 2))


def test_a_flattened_map_is_seen_before_it_is_flattened() -> None:
    model = nn.Sequential(conv_norm(3, 5, 3), nn.Flatten(), nn.Linear(5 * 16, 2)).eval()
    (maps,) = seen_of(model, IMAGES)["0.0"]
    assert torch.equal(maps, model[0](IMAGES))


def test_a_map_that_is_filled_part_by_part_is_seen_when_it_is_read() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            made = self.a(x)
            filled = torch.empty_like(made)
            filled[:, :] = made
            out: Tensor = self.head(filled)
            return out

    model = Net().eval()
    (maps,) = seen_of(model, IMAGES)["a"]
    assert torch.equal(maps, model.a(IMAGES))


def test_without_a_reader_the_last_tensor_with_the_channels_is_seen() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x).relu().square().amax(1)

    model = Net().eval()
    (place,) = places(trace(model, IMAGES[:1]))["a"]
    assert place.result
    (maps,) = seen_of(model, IMAGES)["a"]
    assert torch.equal(maps, model.a(IMAGES).relu().square())


def test_channels_of_an_interleaved_dimension() -> None:
    """A pixel shuffle makes one position of four channels: they go together."""
    model = nn.Sequential(conv_norm(3, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 2, 1)).eval()
    (maps,) = seen_of(model, IMAGES)["0.0"]
    assert torch.equal(maps, model[:2](IMAGES))


@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_of_another_size_and_other_operations(size: int) -> None:
    """The code takes another way for single images: it is traced anew."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            out: Tensor = self.head(x.relu() if len(x) == 1 else x.abs().tanh())
            return out

    model = Net().eval()
    (maps,) = seen_of(model, IMAGES[:size])["a"]
    assert torch.equal(maps, model.a(IMAGES[:1]).relu() if size == 1 else model.a(IMAGES[:3]).abs().tanh())
