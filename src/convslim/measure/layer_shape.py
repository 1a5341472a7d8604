"""What a layer's latency depends on: its shape, and nothing of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Kind = Literal["conv", "conv_transpose", "linear"]
Ints = tuple[int, ...]


@dataclass(frozen=True)
class LayerShape:
    """A convolution, transposed convolution or linear layer, with the input that it gets.

    Attributes:
        kind: Which of the three.
        batch: Images; for a linear layer the rows of its matrix product.
        in_channels, out_channels: Widths, over all conv groups.
        groups: Conv groups.
        size: Spatial size of the input, ``(H, W)``; empty for linear layers, like all that follows.
        kernel, stride, padding, dilation, output_padding: As in PyTorch, one number for each spatial axis.
    """

    kind: Kind
    batch: int
    in_channels: int
    out_channels: int
    groups: int = 1
    size: Ints = ()
    kernel: Ints = ()
    stride: Ints = ()
    padding: Ints = ()
    dilation: Ints = ()
    output_padding: Ints = ()

    def __post_init__(self) -> None:
        assert self.kind in get_args(Kind), f"no kind of layer: {self.kind}"
        assert self.in_channels % self.groups == 0 == self.out_channels % self.groups, "conv groups divide both widths"

    @property
    def input_shape(self) -> Ints:
        """Shape of the layer's input."""
        return (self.batch, self.in_channels, *self.size)

    @property
    def weight_shape(self) -> Ints:
        """Shape of its weight: ``(C_out, C_in / groups, *kernel)``, transposed ``(C_in, C_out / groups, *kernel)``.

        >>> LayerShape("conv", 1, 8, 16, 2, (4, 4), (3, 3), (1, 1), (1, 1), (1, 1)).weight_shape
        (16, 4, 3, 3)
        """
        first, second = self.out_channels, self.in_channels
        if self.kind == "conv_transpose":
            first, second = second, first
        return (first, second // self.groups, *self.kernel)

    def to_data(self) -> dict[str, Any]:
        """The shape as JSON values; what is empty is left out."""
        return {key: value for key, value in asdict(self).items() if value != ()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> LayerShape:
        """The reverse of :meth:`to_data`.

        Raises:
            TypeError, ValueError, AssertionError: It is no shape.

        >>> shape = LayerShape("linear", 1, 64, 10)
        >>> LayerShape.from_data(shape.to_data()) == shape
        True
        """
        arguments: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**arguments)
