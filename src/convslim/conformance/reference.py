"""What the original gives without the removed channels, computed operation by operation from the original alone.

Beside every tensor stands a mask of the same shape: True where an element belongs to what was kept. It begins at the
parameters (:mod:`convslim.conformance.kept`) and follows the data. Nothing here knows channel groups, labels or any
tool; an operation says by its kind what removed channels mean to it:

- Wherever channels are **combined** (convolutions, products, sums, norms, an unknown operation), removed ones read as
  zero, as if they had been switched off.
- **Statistics** over channels (means, variances, softmax, maxima) are different with zeros than without: a run that
  *renormalizes* takes them over what was kept, and takes factors that code computes from a width (the scale of an
  attention) from the smaller model's own run.
- What moves elements, or handles each by itself, is computed as it stands. New tensors that take no more than the
  shape of another one have lost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from convslim.conformance.case import Example, call
from convslim.conformance.kept import tensors_of
from convslim.conformance.over_kept import STATISTICS, mean

VIEWS = ["view", "_unsafe_view", "reshape", "permute", "transpose", "t", "expand", "squeeze", "unsqueeze", "as_strided"]
PARTS = ["slice", "select", "narrow", "split", "split_with_sizes", "unbind", "index_select", "index", "gather"]
WHOLES = ["cat", "stack", "repeat", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad2d"]
ORDERS = ["flip", "roll", "rot90", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "unfold", "im2col", "col2im"]
COPIES = ["detach", "alias", "lift_fresh", "_to_copy", "diagonal", "tril", "triu"]
MOVEMENTS = frozenset([*VIEWS, *PARTS, *WHOLES, *ORDERS, *COPIES])
POOLS = ["_adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d_with_indices", "max_unpool2d"]
POOLS_3D = ["_adaptive_avg_pool3d", "avg_pool3d", "max_pool3d_with_indices"]
SIZES = ["upsample_nearest2d", "upsample_bilinear2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"]
SPATIAL = frozenset([*POOLS, *POOLS_3D, *SIZES, "grid_sampler_2d", "native_batch_norm"])
PRODUCTS = frozenset(["convolution", "mm", "bmm", "mv", "dot", "vdot", "addmm", "baddbmm"])
SUMS = frozenset(["sum", "mean", "cumsum"])
LIKE = ["zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like"]
FACTORIES = frozenset([*LIKE, "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided"])

Numbers = Sequence[tuple[str, tuple[float, ...]]]


@torch.no_grad()
def run_reference(
    model: nn.Module, example: Example, masks: Mapping[str, Tensor], renormalize: bool, numbers: Numbers = ()
) -> Any:
    """The original's output when the elements of its tensors where ``masks`` is False do not exist.

    Args:
        model: The original, in evaluation mode.
        example: The input.
        masks: Kept elements by tensor name, for tensors that lost some.
        renormalize: Take statistics over what was kept instead of over everything.
        numbers: Numbers that the smaller model gives to element-wise operations, used as far as it runs the same ones.
    """
    mode = _Masked(renormalize, numbers)
    for name, tensor in tensors_of(model).items():
        if name in masks:
            mode.set(tensor, masks[name])
    with mode:
        return call(model, example)


@torch.no_grad()
def numbers_of(model: nn.Module, example: Example) -> Numbers:
    """Every element-wise operation of a model with the numbers that it is given."""
    with _Reading() as mode:
        call(model, example)
    return mode.numbers


class _Reading(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[tuple[str, tuple[float, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.pointwise in func.tags:
            values = tuple(leaf for leaf in tree_leaves((args, kwargs or {})) if _is_number(leaf))
            self.numbers.append((func._schema.name, values))
        return func(*args, **(kwargs or {}))


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, int | float) and not isinstance(leaf, bool)


class _Masked(TorchDispatchMode):
    """Runs a model with a mask beside every tensor."""

    def __init__(self, renormalize: bool, numbers: Numbers) -> None:
        super().__init__()
        self.renormalize = renormalize
        self._numbers = iter(numbers)
        self._masks: dict[int, tuple[Tensor, Tensor]] = {}  # with the tensor, so that no identity is given twice

    def get(self, tensor: Tensor) -> Tensor:
        """The mask of a tensor: all True where nothing is known of it."""
        if id(tensor) not in self._masks:
            self.set(tensor, torch.ones_like(tensor, dtype=torch.bool))
        return self._masks[id(tensor)][1]

    def set(self, tensor: Tensor, mask: Tensor) -> None:
        self._masks[id(tensor)] = tensor, mask

    def zeroed(self, value: Any) -> Any:
        """The same with zeros for what was removed."""
        if not isinstance(value, Tensor) or self.get(value).all():
            return value
        return torch.where(self.get(value), value, torch.zeros_like(value))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        kind = name.removeprefix("aten::").rstrip("_")
        if name == "aten::copy_":
            self.get(args[0]).copy_(self.get(args[1]))
            return func(*args, **kwargs)
        if kind in FACTORIES:
            return func(*args, **kwargs)
        if kind in MOVEMENTS:
            return self._move(func, args, kwargs)
        if name in STATISTICS and not (kind == "native_batch_norm" and not args[5]):
            return self._statistic(func, STATISTICS[name], args, kwargs)
        if kind in PRODUCTS:
            return self._multiply(func, args, kwargs)
        if kind in SUMS:
            return self._sum(func, args, kwargs)
        if kind in SPATIAL:
            return self._pool(func, args, kwargs)
        if torch.Tag.pointwise in func.tags or kind == "_prelu_kernel":
            return self._combine(func, args, kwargs)
        return self._unknown(func, args, kwargs)

    def _move(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What moves elements moves their masks. Masks of views are views, so that writing into a slice is seen."""
        result = func(*args, **kwargs)
        for leaf, mask in zip(tree_leaves(result), tree_leaves(self._moved(func, args, kwargs)), strict=True):
            self.set(leaf, mask if mask.dtype is torch.bool else mask > 0)
        return result

    def _moved(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = func._schema.name
        if func.is_view:
            try:
                return func(self.get(args[0]), *args[1:], **kwargs)
            except RuntimeError:  # the mask lies in memory in another order than the tensor
                return self.get(args[0]).reshape(args[1])
        masks = tree_map(lambda leaf: self.get(leaf).float() if isinstance(leaf, Tensor) else leaf, args[0])
        if name == "aten::constant_pad_nd":
            return func(masks, args[1], 1.0)
        return masks if name in ("aten::_to_copy", "aten::lift_fresh") else func(masks, *args[1:], **kwargs)

    def _combine(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Element by element: removed is what any operand has removed."""
        args, kwargs = self._renumbered(func, args, kwargs)
        masks = [self.get(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        result = func(*args, **kwargs)
        mask = torch.ones_like(result, dtype=torch.bool)
        for each in masks:
            mask = mask & each
        if func._schema.is_mutable:
            self.get(args[0]).copy_(mask)
        else:
            self.set(result, mask)
        return result

    def _renumbered(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        name, values = next(self._numbers, ("", ()))
        own = [leaf for leaf in tree_leaves((args, kwargs)) if _is_number(leaf)]
        if name != func._schema.name or len(values) != len(own):
            self._numbers = iter(())  # the smaller model goes another way from here on
            return args, kwargs
        left = iter(values)
        renumbered: tuple[Any, Any] = tree_map(
            lambda leaf: next(left) if _is_number(leaf) else leaf, (tuple(args), kwargs)
        )
        return renumbered

    def _multiply(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Removed elements count as zero; a result is removed if nothing that was kept goes into it."""
        result = func(*(self.zeroed(arg) for arg in args), **kwargs)
        masks = [self.get(arg).float() if isinstance(arg, Tensor) else arg for arg in args]
        if func._schema.name == "aten::convolution":
            masks[2] = None
            count = func(*masks)
            self.set(result, _per_channel(count > 0, result))
        elif func._schema.name in ("aten::addmm", "aten::baddbmm"):
            self.set(result, masks[1] @ masks[2] > 0)
        else:
            self.set(result, func(*masks) > 0)
        return result

    def _sum(self, func: Any, args: Any, kwargs: Any) -> Any:
        mask = self.get(args[0])
        if self.renormalize and func._schema.name == "aten::mean":
            result = mean(args[0], mask, *args[1:], **kwargs)
        else:
            result = func(self.zeroed(args[0]), *args[1:], **kwargs)
        self.set(result, _reduced(func, args, kwargs, mask, result))
        return result

    def _statistic(self, func: Any, over_kept: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        mask = self.get(args[0])
        if self.renormalize and not mask.all():
            result = over_kept(args[0], mask, *args[1:], **kwargs)
        else:
            result = func(self.zeroed(args[0]), *args[1:], **kwargs)
        for leaf in tree_leaves(result):
            if not func._schema.name.startswith("aten::native") or leaf.shape == mask.shape:
                self.set(leaf, _reduced(func, args, kwargs, mask, leaf))
        return result

    def _pool(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Every channel by itself: batch and channel come first before and after."""
        mask = self.get(args[0])
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            if leaf.shape[:2] == mask.shape[:2]:
                self.set(leaf, _per_channel(mask, leaf))
        return result

    def _unknown(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Zeros for what was removed; what comes out in the same shape is taken for the same channels."""
        first = next((leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)), None)
        result = func(*(args if func._schema.is_mutable else tree_map(self.zeroed, tuple(args))), **kwargs)
        for leaf in tree_leaves(result):
            if first is not None and isinstance(leaf, Tensor) and leaf.shape == first.shape:
                self.set(leaf, self.get(first))
        return result


def _per_channel(mask: Tensor, result: Tensor) -> Tensor:
    """A channel of a map is kept if any element of it is."""
    kept = mask.flatten(2).amax(2) if mask.dim() > 2 else mask
    return kept.reshape(*kept.shape, *[1] * (result.dim() - 2)).expand(result.shape).clone()


def _reduced(func: Any, args: Any, kwargs: Any, mask: Tensor, result: Tensor) -> Tensor:
    """The mask of a reduction's result: kept if anything that was kept goes into it."""
    if mask.shape == result.shape:
        return mask
    names = [argument.name for argument in func._schema.arguments]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    dims = given.get("dim")
    dims = list(range(mask.dim())) if dims is None or dims == [] else dims
    return mask.amax(dims, given.get("keepdim", False))
