"""What all processes have, as rows of numbers: nothing is pickled on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, distributed


def gathered(rows: Tensor, device: torch.device) -> Tensor:
    """The rows of all processes, one process after the other; every process calls it, and gets them all.

    Args:
        rows: (n, columns); n may differ between processes, and be 0.
        device: That of the processes' backend.
    """
    sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, torch.tensor([len(rows)], device=device))
    padded = torch.zeros(max(map(int, sizes)), rows.shape[1], dtype=rows.dtype, device=device)
    padded[: len(rows)] = rows.to(device)
    shares = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(shares, padded)
    return torch.cat([share[: int(size)] for share, size in zip(shares, sizes, strict=True)]).to(rows.device)


def rows_of(parts: Mapping[int, Sequence[Tensor]], columns: int) -> Tensor:
    """One table of the tensors of many places: float64 (n, 1 + columns), a row's place first.

    Args:
        parts: Place → tensors (k,) or (k, c) of the same k, which may be 0.
        columns: Of a place's tensors together.

    >>> rows_of({7: [torch.tensor([[1, 2], [3, 4]]), torch.tensor([True, False])]}, 3).tolist()
    [[7.0, 1.0, 2.0, 1.0], [7.0, 3.0, 4.0, 0.0]]
    """
    tables = [torch.empty(0, 1 + columns, dtype=torch.float64)]
    for place, tensors in parts.items():
        if size := len(tensors[0]):
            numbered = torch.full((size,), place), *tensors
            tables.append(torch.cat([tensor.double().reshape(size, -1) for tensor in numbered], 1))
    return torch.cat(tables)


def parts_of(rows: Tensor, places: Tensor) -> dict[int, Tensor]:
    """The rows of every place, without its number, in their order.

    Args:
        rows: As from `rows_of`.
        places: int64 (m,), rising; places without rows get none.

    >>> parts_of(torch.tensor([[7.0, 1.0], [2.0, 5.0], [7.0, 3.0]]), torch.tensor([2, 4, 7]))
    {2: tensor([[5.]]), 4: tensor([], size=(0, 1)), 7: tensor([[1.],
            [3.]])}
    """
    rows = rows[rows[:, 0].argsort(stable=True)]
    bounds = torch.searchsorted(rows[:, 0].contiguous(), torch.stack([places, places + 1]).to(rows.dtype))
    return {place: rows[first:last, 1:] for place, first, last in torch.stack([places, *bounds], 1).tolist()}
