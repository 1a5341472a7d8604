"""Element-wise operations unite what they bring together: residual adds, gates, layer scale, activations."""

import numpy as np
import torch

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.tape import OpCall, TensorRef
from convslim.channels.values import Axes, vector


def is_pointwise(call: OpCall) -> bool:
    """True if PyTorch itself tags the operation (or its functional form) as point-wise."""
    return torch.Tag.pointwise in call.func.tags


def pointwise(call: OpCall, labeler: Labeler) -> None:
    """Broadcast the operands' labels against each other and unite them, dimension by dimension."""
    operands = call.inputs
    if not call.outs:
        return
    shape = call.outs[0].shape
    axes = {dim: labels for dim in range(len(shape)) if (labels := _meet(call, labeler, operands, dim)) is not None}
    uniform = all(labeler.value(ref).uniform for ref in operands)
    flat = [dim for dim in range(len(shape)) if _is_flat(labeler, operands, len(shape) - dim)]
    for out in call.outs:
        if out.shape == shape:
            labeler.put(out, axes, uniform=uniform, flat=flat, origin=_origin(labeler, operands))
    if call.through_view:
        before = labeler.axes(operands[0])
        if axes and axes.keys() == before.keys() and all(np.array_equal(axes[dim], before[dim]) for dim in axes):
            labeler.keep_view(call, operands[0])
        elif axes or before:
            labeler.write(call, operands[0], axes, _origin(labeler, operands))
        elif not uniform:
            _spoil_base(call, labeler)


def _is_flat(labeler: Labeler, operands: tuple[TensorRef, ...], behind: int) -> bool:
    """True if every operand is one value along the dimension that is ``behind`` from the end."""
    dims = [(ref, len(ref.shape) - behind) for ref in operands]
    return all(dim < 0 or ref.shape[dim] == 1 or labeler.value(ref).fits(dim) for ref, dim in dims)


def _meet(call: OpCall, labeler: Labeler, operands: tuple[TensorRef, ...], dim: int) -> np.ndarray | None:
    """Unite the operands' labels along one output dimension; None if nobody has any."""
    shape = call.outs[0].shape
    size, behind = shape[dim], len(shape) - dim
    met: np.ndarray | None = None
    plain: list[str] = []
    for ref in operands:
        own = len(ref.shape) - behind
        value = labeler.value(ref)
        if own < 0 or ref.shape[own] != size:
            if own in value.axes:
                labeler.pin(value.axes[own], call, "the channels are broadcast against others")
            continue
        labels = value.axes.get(own)
        if labels is None:
            if not value.fits(own) and size > 1:
                plain.append(value.origin)
        elif met is None:
            met = labels
        else:
            labeler.unite(met, labels, call, value.origin)
            met = np.where(met != 0, met, labels)
    if met is not None and plain:
        labeler.unite(met, np.zeros_like(met), call, plain[0])
    return met


def _origin(labeler: Labeler, operands: tuple[TensorRef, ...]) -> str:
    origins = [labeler.value(ref).origin for ref in operands if not labeler.value(ref).static]
    return next((origin for origin in origins if origin != "a constant"), "")


def _spoil_base(call: OpCall, labeler: Labeler) -> None:
    """A part of a tensor was overwritten by something without channels: nothing is known of the whole."""
    labeler.write(call, call.inputs[0], {}, "a constant")
    labeler.pin_inputs(call, "the tensor is written in place through a view")


def copy(call: OpCall, labeler: Labeler) -> None:
    """``target.copy_(source)``: the target takes the source's labels, and so does what it is a part of."""
    target, source = call.inputs[0], call.inputs[1]
    value = labeler.value(source)
    lead = len(target.shape) - len(source.shape)
    axes: Axes = {
        dim + lead: labels for dim, labels in value.axes.items() if source.shape[dim] == target.shape[dim + lead]
    }
    if call.through_view and not (value.uniform and not axes):
        labeler.write(call, target, axes, value.origin)
        return
    for dim, labels in labeler.axes(target).items():
        # The memory was as wide as the channels that it held before.
        labeler.unite(labels, vector(axes, dim, len(labels)), call, value.origin)
    for out in call.outs:
        labeler.put(out, axes, origin=value.origin)


_POINTWISE = (
    "hardswish hardsigmoid hardtanh _prelu_kernel leaky_relu elu softplus gelu mish logit masked_fill fill zero "
    "native_dropout fake_quantize_per_tensor_affine threshold celu selu log_sigmoid_forward bitwise_not erfinv "
    "bernoulli uniform normal exponential"
)

RULES: dict[str, Rule] = {**dict.fromkeys(_POINTWISE.split(), pointwise), "copy": copy}
