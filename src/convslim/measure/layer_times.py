"""Time of a network's layers as a function of the kept channels, from measured shapes on a coarse grid of widths.

A runtime works on blocks of channels: a width that is no multiple of 8 takes the time of the next multiple, or more.
So widths count in cells of 8 (wider ones for layers above 2,048 channels), and every layer becomes a table ``time[cells
read][cells made]``. A few of its entries are measured, the others interpolated. There are two tables: as measured, and
one in which more channels never are faster, for a search that relies on it: there a width that the runtime dislikes
(integer kernels with 8 output channels take longer than with 16) has the time of the fastest wider one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from convslim.measure.layer_shape import LayerShape
from convslim.measure.timed_layer import TimedLayer, Width

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Times = Callable[[Iterable[LayerShape]], Mapping[LayerShape, float]]

CELL = 8
MAX_CELLS = 256
MAX_POINTS = 5


@dataclass(frozen=True)
class Axis:
    """The widths of one axis of a layer.

    Attributes:
        full: The original width.
        varies: False if it never changes.
        multiple: Widths are multiples of this, such as the number of conv groups.
    """

    full: int
    varies: bool
    multiple: int = 1

    @property
    def cell(self) -> int:
        """Channels in one cell."""
        return max(CELL, CELL * -(-self.full // (CELL * MAX_CELLS)))

    @property
    def num_cells(self) -> int:
        """Cells of the original width."""
        return -(-self.full // self.cell) if self.varies else 1

    def points(self) -> list[int]:
        """The cells that are measured: the narrowest, the whole, and some between.

        >>> Axis(64, True).points(), Axis(10, False).points(), Axis(512, True).points()
        ([1, 2, 4, 6, 8], [1], [1, 16, 32, 48, 64])
        """
        step = -(-self.num_cells // (MAX_POINTS - 1))
        return sorted({1, *range(step, self.num_cells, step), self.num_cells})

    def width(self, cells: int) -> int:
        """The width of so many cells: the original one for all of them."""
        if cells >= self.num_cells:
            return self.full
        return min(-(-cells * self.cell // self.multiple) * self.multiple, self.full)

    def places(self, widths: Counts) -> Counts:
        """Row or column of the table for widths."""
        if not self.varies:
            return np.zeros_like(widths)
        return np.clip(-(-widths // self.cell), 1, self.num_cells) - 1


@dataclass(frozen=True)
class Grid:
    """A layer's shape and the two axes along which it may change."""

    shape: LayerShape
    read: Axis
    made: Axis
    whole_groups: bool

    @classmethod
    def of(cls, layer: TimedLayer) -> Grid:
        """Which widths a layer may take."""
        shape, per_group = layer.shape, layer.shape.out_channels // layer.shape.groups
        if layer.whole_groups:
            return cls(shape, Axis(shape.in_channels, False), Axis(shape.out_channels, True, per_group), True)
        read = Axis(shape.in_channels, bool(layer.read.times), shape.groups)
        return cls(shape, read, Axis(shape.out_channels, bool(layer.made.times), shape.groups), False)

    def at(self, read: int, made: int) -> LayerShape:
        """The shape with so many cells of channels read and made."""
        out = self.made.width(made)
        if not self.whole_groups:
            return replace(self.shape, in_channels=self.read.width(read), out_channels=out)
        groups = out * self.shape.groups // self.shape.out_channels
        read_per_group = self.shape.in_channels // self.shape.groups
        return replace(self.shape, in_channels=read_per_group * groups, out_channels=out, groups=groups)

    def shapes(self) -> list[list[LayerShape]]:
        """The shapes to measure."""
        return [[self.at(read, made) for made in self.made.points()] for read in self.read.points()]

    def table(self, times: Mapping[LayerShape, float]) -> Floats:
        """Milliseconds of every pair of cells, shape ``(cells read, cells made)``."""
        measured = np.array([[times[shape] for shape in row] for row in self.shapes()])
        cells = np.arange(1, self.made.num_cells + 1)
        rows = np.array([np.interp(cells, self.made.points(), row) for row in measured])
        cells = np.arange(1, self.read.num_cells + 1)
        return np.array([np.interp(cells, self.read.points(), column) for column in rows.T]).T


def rising(table: Floats) -> Floats:
    """The largest table below another one that never falls along either axis.

    >>> rising(np.array([[1.0, 3.0, 2.0]]))
    array([[1., 2., 2.]])
    """
    return np.minimum.accumulate(np.minimum.accumulate(table[::-1, ::-1], 0), 1)[::-1, ::-1]


class LayerTimes:
    """Milliseconds and sizes of a network's layers for kept channels per group.

    Attributes:
        layers: The layers that are timed, one for each use.
        sizes: The original number of channels per group.
        by_shape: The milliseconds that all else is interpolated from.
    """

    def __init__(self, layers: Sequence[TimedLayer], sizes: Counts, times: Times) -> None:
        self.layers = tuple(layers)
        self.sizes = sizes
        self._grids = [Grid.of(layer) for layer in layers]
        measured = times(shape for grid in self._grids for row in grid.shapes() for shape in row)
        self.by_shape = dict(measured)
        tables: dict[Grid, Floats] = {grid: grid.table(measured) for grid in dict.fromkeys(self._grids)}
        starts = dict(
            zip(tables, np.cumsum([0, *(table.size for table in tables.values())])[:-1].tolist(), strict=True)
        )
        self._measured = np.concatenate([*(table.ravel() for table in tables.values()), np.zeros(0)])
        self._rising = np.concatenate([*(rising(table).ravel() for table in tables.values()), np.zeros(0)])
        self._start = np.array([starts[grid] for grid in self._grids], np.int64)
        self._columns = np.array([grid.made.num_cells for grid in self._grids], np.int64)
        self._read = _Widths([layer.read for layer in layers], len(sizes))
        self._made = _Widths([layer.made for layer in layers], len(sizes))
        self._positions = np.array([layer.positions for layer in layers], np.float64)

    def by_layer(self, counts: npt.NDArray[np.integer]) -> Floats:
        """Milliseconds of every layer as measured, shape ``(..., num_layers)``, counts ``(..., num_groups)``."""
        return self._measured[self._places(counts)]

    def _places(self, counts: npt.NDArray[np.integer]) -> Counts:
        """Where the tables have the layers' times."""
        read, made = self._read.at(counts), self._made.at(counts)
        for number, grid in enumerate(self._grids):
            read[..., number] = grid.read.places(read[..., number])
            made[..., number] = grid.made.places(made[..., number])
        places: Counts = self._start + read * self._columns + made
        return places

    def total(self, counts: npt.NDArray[np.integer]) -> Floats:
        """Milliseconds of all layers, shape ``(...)``; more channels never are faster."""
        return self._rising[self._places(counts)].sum(-1)

    def measured(self, counts: npt.NDArray[np.integer]) -> Floats:
        """Milliseconds of all layers as measured, shape ``(...)``: some widths are slower than wider ones."""
        return self.by_layer(counts).sum(-1)

    def one_cell(self) -> Floats:
        """For every layer that makes a varying width above 8: its time with one cell of channels over that with two."""
        wide = np.flatnonzero(self._columns > 1)
        whole_read = np.array([self._grids[number].read.num_cells - 1 for number in wide], np.int64)
        first = self._start[wide] + whole_read * self._columns[wide]
        found: Floats = self._measured[first] / self._measured[first + 1]
        return found

    def elements(self, counts: npt.NDArray[np.integer]) -> Floats:
        """Elements of all feature maps that the layers make, shape ``(...)``."""
        return self._made.at(counts) @ self._positions


class _Widths:
    """Widths of many layers as affine functions of the kept counts."""

    def __init__(self, widths: Sequence[Width], num_groups: int) -> None:
        entries = [(row, group, times) for row, width in enumerate(widths) for group, times in width.times]
        rows, columns, values = np.array(entries, np.int64).reshape(-1, 3).T
        self._slope = csr_array((values, (rows, columns)), shape=(len(widths), num_groups))
        self._fixed = np.array([width.fixed for width in widths], np.int64)

    def at(self, counts: npt.NDArray[np.integer]) -> Counts:
        rows = np.asarray(counts, np.int64).reshape(math.prod(counts.shape[:-1]), counts.shape[-1])
        found: Counts = ((self._slope @ rows.T).T + self._fixed).reshape(*counts.shape[:-1], len(self._fixed))
        return found
