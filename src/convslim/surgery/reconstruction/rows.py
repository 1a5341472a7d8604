"""What a layer reads and writes, as rows of a linear problem.

One row stands for one output position of one image: the inputs under the kernel there, and the outputs. Of an image's
positions a few are taken, spread evenly and shifted from image to image, so that all positions are seen and the choice
depends on the image's number only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Kernel:
    """How a layer's weight meets its input.

    Attributes:
        transposed: A transposed convolution.
        size: Kernel size by spatial dimension; empty for a linear layer.
        stride, padding, dilation, output_padding: As of the convolution.
        groups: Conv groups.
    """

    transposed: bool
    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int


LINEAR = Kernel(False, (), (), (), (), (), 1)


def as_matrix(weight: Tensor, kernel: Kernel) -> Tensor:
    """Weight → ``(groups, K, M)``: K inputs of a conv group times taps, M outputs of it.

    >>> as_matrix(torch.zeros(4, 3), LINEAR).shape
    torch.Size([1, 3, 4])
    """
    groups = kernel.groups
    if kernel.transposed:
        grid = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1).flip(-1)
        return grid.permute(0, 1, 3, 2).reshape(groups, -1, weight.shape[1])
    return weight.reshape(groups, weight.shape[0] // groups, -1).transpose(1, 2)


def as_weight(matrix: Tensor, kernel: Kernel, shape: torch.Size) -> Tensor:
    """The inverse of :func:`as_matrix`."""
    groups = kernel.groups
    if kernel.transposed:
        grid = matrix.reshape(groups, shape[0] // groups, -1, shape[1]).permute(0, 1, 3, 2).flip(-1)
        return grid.reshape(shape)
    return matrix.transpose(1, 2).reshape(shape)


def sampled(first: int, count: int, num_positions: int, per_image: int) -> Tensor:
    """Positions taken of images ``first, first + 1, ...``; shape ``(count, min(per_image, num_positions))``.

    >>> sampled(0, 2, 8, 2)
    tensor([[0, 4],
            [4, 0]])
    """
    taken = min(per_image, num_positions)
    even = torch.arange(taken) * num_positions // taken
    shift = torch.tensor([int((first + n) * _GOLDEN % 1 * num_positions) for n in range(count)])
    return (even + shift[:, None]) % num_positions


def input_rows(features: Tensor, kernel: Kernel, out_shape: torch.Size, positions: Tensor) -> Tensor:
    """Inputs under the kernel at some output positions.

    Args:
        features: The layer's input, ``(N, C, *spatial)``, or ``(R, K)`` of a linear layer.
        kernel: The layer's geometry.
        out_shape: Shape of its output.
        positions: Flat output positions by image, ``(N, P)``; for a linear layer R is N times positions.

    Returns:
        ``(groups, N * P, K)``.
    """
    if not kernel.size:
        return _linear_rows(features, positions)[None]
    windows = _windows(features, kernel, out_shape)
    rank = len(kernel.size)
    images = torch.arange(len(positions))[:, None].expand_as(positions)
    places = torch.unravel_index(positions, out_shape[2:])
    # (N, *out, C, *kernel): the gathered rows are contiguous
    order = (0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank))
    rows = windows.permute(order)[(images, *places)]
    grid = rows.reshape(positions.numel(), kernel.groups, -1)
    return grid.transpose(0, 1)


def output_rows(outputs: Tensor, kernel: Kernel, positions: Tensor) -> Tensor:
    """Outputs at some positions: ``(N * P, C_out)``."""
    if not kernel.size:
        return _linear_rows(outputs, positions)
    flat = outputs.flatten(2)
    images = torch.arange(len(positions))[:, None].expand_as(positions)
    return flat.transpose(1, 2)[images, positions].reshape(positions.numel(), -1)


def num_positions(out_shape: torch.Size, kernel: Kernel, num_images: int) -> int:
    """Output positions of one image."""
    return math.prod(out_shape[2:]) if kernel.size else max(out_shape[0] // num_images, 1)


def _linear_rows(matrix: Tensor, positions: Tensor) -> Tensor:
    grid = matrix.reshape(len(positions), -1, matrix.shape[-1])
    images = torch.arange(len(positions))[:, None].expand_as(positions)
    return grid[images, positions].reshape(positions.numel(), -1)


def _windows(features: Tensor, kernel: Kernel, out_shape: torch.Size) -> Tensor:
    """View ``(N, C, *out, *kernel)`` of the padded input."""
    rank = len(kernel.size)
    stride = kernel.stride
    if kernel.transposed:
        features, stride = _stretched(features, kernel), (1,) * rank
    else:
        features = F.pad(features, [side for pad in reversed(kernel.padding) for side in (pad, pad)])
    steps = features.stride()
    return features.as_strided(
        (*features.shape[:2], *out_shape[2:], *kernel.size),
        (
            *steps[:2],
            *(step * by for step, by in zip(steps[2:], stride, strict=True)),
            *(step * by for step, by in zip(steps[2:], kernel.dilation, strict=True)),
        ),
    )


def _stretched(features: Tensor, kernel: Kernel) -> Tensor:
    """The input of the ordinary convolution, with the kernel flipped, that a transposed convolution is."""
    spatial = features.shape[2:]
    stretched = features.new_zeros(
        *features.shape[:2], *((size - 1) * by + 1 for size, by in zip(spatial, kernel.stride, strict=True))
    )
    stretched[(slice(None), slice(None), *(slice(None, None, by) for by in kernel.stride))] = features
    pads = []
    for dim in reversed(range(len(spatial))):
        reach = kernel.dilation[dim] * (kernel.size[dim] - 1) - kernel.padding[dim]
        pads += [reach, reach + kernel.output_padding[dim]]
    return F.pad(stretched, pads)
