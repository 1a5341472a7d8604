"""Rows times the matrix of a weight are what the layer gives, for every geometry."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from convslim.surgery.reconstruction.rows import LINEAR, Kernel, as_matrix, as_weight, input_rows, output_rows, sampled

GEOMETRIES = [
    Kernel(False, (3, 3), (1, 1), (1, 1), (1, 1), (0, 0), 1),
    Kernel(False, (3, 2), (2, 1), (0, 1), (1, 2), (0, 0), 2),
    Kernel(False, (1, 1), (2, 2), (0, 0), (1, 1), (0, 0), 1),
    Kernel(False, (3, 3), (1, 1), (1, 1), (1, 1), (0, 0), 4),
    Kernel(False, (5,), (2,), (2,), (1,), (0,), 1),
    Kernel(False, (2, 3, 3), (1, 2, 1), (0, 1, 1), (1, 1, 1), (0, 0, 0), 2),
    Kernel(True, (3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 1),
    Kernel(True, (4, 2), (2, 1), (1, 0), (1, 3), (0, 0), 2),
    Kernel(True, (1, 1), (1, 1), (0, 0), (1, 1), (0, 0), 4),
    Kernel(True, (2,), (3,), (0,), (1,), (2,), 1),
]


def run(x, weight, kernel):
    """The layer itself."""
    return torch.convolution(
        x,
        weight,
        None,
        kernel.stride,
        kernel.padding,
        kernel.dilation,
        kernel.transposed,
        kernel.output_padding,
        kernel.groups,
    )


@pytest.mark.parametrize("kernel", GEOMETRIES)
def test_rows_times_matrix_are_the_outputs(kernel):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 7, 8, 6, dtype=torch.float64)[(..., *([0] * (3 - len(kernel.size))))].contiguous()
    shape = (4, 6 // kernel.groups) if kernel.transposed else (8, 4 // kernel.groups)
    weight = torch.randn(*shape, *kernel.size, dtype=torch.float64)
    out = run(x, weight, kernel)
    positions = sampled(0, 3, out[0, 0].numel(), 5)
    rows = input_rows(x, kernel, out.shape, positions)
    matrix = as_matrix(weight, kernel)
    found = (rows @ matrix).transpose(0, 1).reshape(positions.numel(), -1)
    assert torch.allclose(found, output_rows(out, kernel, positions))
    assert torch.equal(as_weight(matrix, kernel, weight.shape), weight)


def test_linear_layers_with_several_positions_an_image():
    x, weight = torch.randn(6, 5), torch.randn(3, 5)  # 2 images with 3 tokens each
    out = F.linear(x, weight)
    positions = sampled(0, 2, 3, 2)
    rows = input_rows(x, LINEAR, out.shape, positions)
    assert torch.allclose((rows @ as_matrix(weight, LINEAR))[0], output_rows(out, LINEAR, positions))


def test_positions_depend_on_the_image_not_on_its_batch():
    whole = sampled(0, 10, 64, 7)
    parts = [sampled(first, size, 64, 7) for first, size in ((0, 3), (3, 1), (4, 6))]
    assert torch.equal(torch.cat(parts), whole)


def test_all_positions_are_seen_and_none_twice_in_an_image():
    taken = sampled(0, 200, 64, 8)
    assert taken.unique().numel() == 64
    assert all(row.unique().numel() == 8 for row in taken)
    assert sampled(0, 1, 5, 64).sort().values.tolist() == [list(range(5))]


def test_every_geometry_is_another():
    assert all(left != right for left, right in itertools.combinations(GEOMETRIES, 2))
