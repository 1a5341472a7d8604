"""What training and evaluation rely on: `DataSource`, `Split` and their batches."""

import pytest
import torch

from convslim.data import Augmentation, DataSource, Split, TensorReader
from convslim.errors import DataError


@pytest.fixture
def source():
    """30 images of 10 × 10, cropped to 8 × 8; pixel (1, 1) of image i is i."""
    images = torch.randint(0, 256, (30, 2, 10, 10), dtype=torch.uint8)
    images[:, 0, 1, 1] = torch.arange(30)
    reader = TensorReader(images, torch.arange(30) % 3)
    augmentation = Augmentation(padding=1, flip=True, cutout=2)
    train = Split(reader, torch.arange(24), (2, 8, 8), (0.0, 0.5), (1.0, 0.25), augmentation)
    test = Split(reader, torch.arange(24, 30), (2, 8, 8), (0.0, 0.5), (1.0, 0.25), Augmentation())
    return DataSource("made", train, test, ("a", "b", "c"))


def collect(batches):
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def numbers(batches):
    """Which images came, told by the pixel that names them."""
    return (collect(batches)[0][:, 0, 0, 0] * 255).round().long()


def test_images_are_normalized_floats_and_labels_int64(source):
    images, labels = collect(source.test.batches(4))
    raw = source.test.reader.images[24:, :, 1:9, 1:9].double() / 255
    expected = (raw - torch.tensor([0.0, 0.5])[:, None, None]) / torch.tensor([1.0, 0.25])[:, None, None]
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert images.is_contiguous()
    assert torch.allclose(images.double(), expected, atol=1e-6)
    assert labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_facts_of_the_source(source):
    assert (source.num_classes, source.input_shape) == (3, (2, 8, 8))
    assert (source.mean, source.std) == ((0.0, 0.5), (1.0, 0.25))
    assert torch.equal(source.example_input(3), collect(source.train.batches(3, limit=3))[0])
    assert source.example_input().shape == (1, 2, 8, 8)


def test_length_counts_the_batches(source):
    for options in ({}, {"limit": 9}, {"drop_last": True}, {"seed": 1, "world_size": 3, "rank": 2}):
        batches = source.train.batches(7, **options)
        assert len(batches) == len(list(batches))


def test_same_seed_and_epoch_give_the_same_images(source):
    first = collect(source.train.batches(5, seed=3, epoch=2, augment=True))
    torch.manual_seed(99)
    again = collect(source.train.batches(5, seed=3, epoch=2, augment=True))
    other = collect(source.train.batches(5, seed=3, epoch=3, augment=True))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_the_images_that_one_would_have_seen(source, world_size):
    options = {"seed": 1, "epoch": 1, "augment": True, "world_size": world_size}
    alone = list(source.train.batches(6, seed=1, epoch=1, augment=True))
    shares = [list(source.train.batches(6, rank=rank, **options)) for rank in range(world_size)]
    for step, (images, labels) in enumerate(alone):
        for rank in range(world_size):
            assert torch.equal(shares[rank][step][0], images[rank::world_size])
            assert torch.equal(shares[rank][step][1], labels[rank::world_size])


def test_shuffled_shares_are_equal_and_unshuffled_ones_complete(source):
    shuffled = [list(source.train.batches(7, seed=0, rank=rank, world_size=2)) for rank in range(2)]
    assert [[len(labels) for _, labels in share] for share in shuffled] == [[3, 3, 3, 1]] * 2
    whole = [numbers(source.train.batches(7, rank=rank, world_size=4)) for rank in range(4)]
    assert sorted(torch.cat(whole).tolist()) == list(range(24))


def test_augmentation_needs_a_seed_and_rank_its_range(source):
    with pytest.raises(DataError, match="needs a seed"):
        source.train.batches(4, augment=True)
    with pytest.raises(DataError, match="ranks go from 0 to 1"):
        source.train.batches(4, rank=2, world_size=2)


def test_hold_out_takes_training_images_of_every_class(source):
    divided = source.hold_out(0.25, seed=1)
    train, held = numbers(divided.train.batches(64)), numbers(divided.holdout.batches(64))
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(24))
    assert torch.bincount(divided.holdout.labels).tolist() == [2, 2, 2]
    assert divided.test is source.test
    assert not torch.equal(held, numbers(source.hold_out(0.25, seed=2).holdout.batches(64)))
