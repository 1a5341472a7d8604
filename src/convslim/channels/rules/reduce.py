"""Reductions and scans. Over unlabeled dimensions channels pass; over channels the result depends on all of them.

A sum or a norm over channels reads them: where one is zero, it adds nothing. A mean, a variance or a maximum is a
statistic of the channels, which is another one for fewer of them.
"""

from collections.abc import Sequence

import torch

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.labels import Vector
from convslim.channels.rules.elementwise import pointwise
from convslim.channels.tape import OpCall
from convslim.channels.values import Axes


def is_reduction(call: OpCall) -> bool:
    """True if PyTorch itself tags the operation as a reduction."""
    return torch.Tag.reduction in call.func.tags


def reduction(call: OpCall, labeler: Labeler) -> None:
    """mean, sum, amax, norm, ...: the reduced dimensions go, the labels of the others move up."""
    ref = call.inputs[0]
    dims = _dims(call.bound.get("dim"), len(ref.shape))
    axes = dict(labeler.axes(ref))
    for dim in dims:
        if dim in axes:
            _over_channels(call, labeler, dim, axes.pop(dim))
    for other in call.inputs[1:]:
        labeler.pin_dims(call, other, range(len(other.shape)), f"{call.name} runs over the channels")
    keepdim = bool(call.bound.get("keepdim", False))
    for out in call.outs:
        moved: Axes = axes if keepdim else {dim - sum(gone < dim for gone in dims): v for dim, v in axes.items()}
        labeler.put(out, moved, uniform=labeler.value(ref).uniform, origin=labeler.value(ref).origin)


def _over_channels(call: OpCall, labeler: Labeler, dim: int, labels: Vector) -> None:
    reason = f"{call.name.strip('_')} runs over the channels"
    if call.name in _STATISTICS:
        labeler.renormalize(labels, call, reason)
    elif call.name in _SUMS and call.bound.get("ord", 2) in (1, 2):
        labeler.consume(call, 0, dim, labels, None)
    else:
        labeler.pin(labels, call, reason)


def _dims(dim: int | Sequence[int] | None, ndim: int) -> list[int]:
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return list(range(ndim))
    return sorted(entry % ndim for entry in ([dim] if isinstance(dim, int) else dim)) if ndim else []


def along_dim(call: OpCall, labeler: Labeler) -> None:
    """softmax, cumsum, sort, ...: along the channels every value depends on the others; other dimensions pass."""
    ref = call.inputs[0]
    dim = call.bound.get("dim", -1) % max(len(ref.shape), 1)
    axes = dict(labeler.axes(ref))
    if dim in axes and call.name in _STATISTICS:
        labeler.renormalize(axes[dim], call, f"{call.name.strip('_')} runs over the channels")
    else:
        axes = labeler.pin_dims(call, ref, [dim], f"{call.name.strip('_')} runs over the channels")
    for out in call.outs:
        labeler.put(out, axes, origin=labeler.value(ref).origin)


def item(call: OpCall, labeler: Labeler) -> None:
    """``.item()``, ``if x.sum() > 0``: the code goes on with a number that no tape can follow."""
    labeler.pin_reaching(call, "the code reads a number that depends on these channels")


def minmax(call: OpCall, labeler: Labeler) -> None:
    """``max`` and ``min`` are reductions with ``dim`` or alone, and element-wise with a second tensor."""
    (pointwise if len(call.inputs) > 1 else reduction)(call, labeler)


_SOFTMAX = ("softmax", "_softmax", "_safe_softmax")
_SUMS = ["sum", "linalg_vector_norm"]
_STATISTICS = [
    "mean",
    "var",
    "std",
    "var_mean",
    "std_mean",
    "amax",
    "amin",
    "max",
    "min",
    "_softmax",
    "_safe_softmax",
    "softmax",
]
_REDUCTIONS = (
    "mean sum amax amin prod std var var_mean std_mean logsumexp linalg_vector_norm norm argmax argmin any all"
)
_ALONG = "_softmax _safe_softmax _log_softmax softmax log_softmax cumsum cumprod sort topk logcumsumexp cummax cummin"

RULES: dict[str, Rule] = {
    **dict.fromkeys(_REDUCTIONS.split(), reduction),
    **dict.fromkeys(_ALONG.split(), along_dim),
    "max": minmax,
    "min": minmax,
    **dict.fromkeys(("_local_scalar_dense", "is_nonzero", "equal"), item),
}
