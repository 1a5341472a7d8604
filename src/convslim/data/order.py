"""Which images form which batch: a pure function of (seed, epoch), so that a run resumes bit for bit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from convslim.errors import DataError

SHUFFLE, AUGMENT, SPLIT = 0, 1, 2  # purposes: each draws from a stream of its own


def generator(seed: int, *path: int) -> torch.Generator:
    """A `torch.Generator` whose stream depends only on `seed` and the numbers in `path`.

    >>> int(torch.randint(1000, (1,), generator=generator(0, 1))) == int(
    ...     torch.randint(1000, (1,), generator=generator(0, 1)))
    True
    """
    state = np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def global_batches(
    num_images: int,
    batch_size: int,
    *,
    seed: int | None = None,
    epoch: int = 0,
    limit: int | None = None,
    drop_last: bool = False,
) -> list[Tensor]:
    """Row numbers of every batch, over all processes together.

    Args:
        num_images: images in the split.
        batch_size: images in one batch, all processes together.
        seed: shuffles with `generator(seed, SHUFFLE, epoch)`; None keeps the order of the data set.
        epoch: number of the pass over the data; another epoch is another order.
        limit: uses only the first `limit` images of that order.
        drop_last: leaves out a last batch that is not full.

    Returns:
        int64 tensors of shape (batch_size,), the last one shorter unless `drop_last`.

    Raises:
        DataError: `batch_size` or `limit` is below 1.

    >>> global_batches(5, 2)
    [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """
    for name, value in (("batch_size", batch_size), ("limit", limit)):
        if value is not None and value < 1:
            raise DataError(f"{name} is {value}; it must be at least 1.")
    if seed is None:
        order = torch.arange(num_images)
    else:
        order = torch.randperm(num_images, generator=generator(seed, SHUFFLE, epoch))
    batches = list(order[:limit].split(batch_size)) if num_images else []
    if drop_last and batches and len(batches[-1]) < batch_size:
        batches.pop()
    return batches


def stratified_split(labels: Tensor, held_out: float | int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Split rows in two, with nearly the same share of every class in both parts.

    Args:
        labels: int64 (N,).
        held_out: a float in (0, 1) is a share of the rows, an int a count of rows.
        seed: another seed is another split.

    Returns:
        (rows that stay, rows held out), both sorted int64. Every class loses floor(share · size) rows; the
        rows still missing to the wanted count come from the classes with the largest remainders.

    Raises:
        DataError: `held_out` takes nothing or everything.

    >>> stay, out = stratified_split(torch.tensor([0] * 8 + [1] * 4), 0.25)
    >>> len(stay), torch.bincount((torch.tensor([0] * 8 + [1] * 4))[out]).tolist()
    (9, [2, 1])
    """
    total = len(labels)
    wanted = round(held_out * total) if isinstance(held_out, float) else held_out
    if not 0 < wanted < total:
        raise DataError(
            f"held_out={held_out} takes {wanted} of {total} images and must leave some on both sides: "
            "give a share between 0 and 1, or a count below the number of images."
        )
    sizes = torch.bincount(labels).double()
    exact = sizes * wanted / total
    counts = exact.floor().long()
    missing = wanted - int(counts.sum())
    counts[torch.argsort(exact - counts, descending=True, stable=True)[:missing]] += 1
    shuffled = torch.randperm(total, generator=generator(seed, SPLIT))
    out = [shuffled[labels[shuffled] == k][:count] for k, count in enumerate(counts.tolist())]
    held = torch.cat(out).sort().values
    stays = torch.ones(total, dtype=torch.bool)
    stays[held] = False
    return torch.nonzero(stays).flatten(), held
