"""Which numbers in a program's graph count channels, read off the labels of a walk.

Every number has a name, ``"<node>:<argument>"`` or ``"<node>:<argument>.<place>"``, and counts the positions with given
labels: a size along a dimension counts that dimension, the start of a slice counts the positions before it. After a
removal it is the number of those that stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from convslim.channels.labeler import Labeler
from convslim.channels.labels import Vector
from convslim.channels.program.numbers import number_at
from convslim.channels.tape import NodeCall, Tape, TensorRef
from convslim.channels.values import vector

Counted = tuple[str, Vector]  # argument path, labels of the positions that it counts
Count = Callable[[NodeCall, Labeler], Iterator[Counted]]


def numbers_of(tape: Tape, labeler: Labeler) -> dict[str, Vector]:
    """The labels that every number of a program's graph counts, by the number's name.

    Numbers that the graph computes, that count no channel, or that are not what their labels say are left out.
    """
    found: dict[str, Vector] = {}
    for call in tape.nodes:
        for path, labels in _COUNTS.get(call.operation, _nothing)(call, labeler):
            if labels.any() and number_at(call.written, *_split_path(path)) == len(labels):
                found[f"{call.name}:{path}"] = labels
    written = {call.name: call.written for call in tape.nodes}
    for name, labels in labeler.node_counts.items():
        node, _, argument = name.partition(":")
        if isinstance(written.get(node, {}).get(argument), int):
            found[name] = labels
    return found


def _split_path(path: str) -> tuple[str, str]:
    argument, _, place = path.partition(".")
    return argument, place


# ---- what the arguments of an operation count -----------------------------------------------------------------


def _nothing(call: NodeCall, labeler: Labeler) -> Iterator[Counted]:
    yield from ()


def _along(labeler: Labeler, ref: TensorRef, dim: int) -> Vector:
    return vector(labeler.axes(ref), dim, ref.shape[dim])


def _sizes(argument: str, trailing: bool = False) -> Count:
    """A list of sizes, one for every dimension of the result, or for its last ones."""

    def count(call: NodeCall, labeler: Labeler) -> Iterator[Counted]:
        out, sizes = call.outs[0], call.args[argument]
        first = len(out.shape) - len(sizes) if trailing else 0
        for place in range(len(sizes)):
            yield f"{argument}.{place}", _along(labeler, out, first + place)

    return count


def _unflatten(call: NodeCall, labeler: Labeler) -> Iterator[Counted]:
    first = call.args["dim"] % len(call.args["self"].shape)
    for place in range(len(call.args["sizes"])):
        yield f"sizes.{place}", _along(labeler, call.outs[0], first + place)


def _split(call: NodeCall, labeler: Labeler) -> Iterator[Counted]:
    dim = call.args["dim"] % len(call.args["self"].shape)
    for place, out in enumerate(call.outs):
        yield f"split_sizes.{place}", _along(labeler, out, dim)


def _input_axis(call: NodeCall, labeler: Labeler) -> Vector:
    ref = call.args["self"]
    return _along(labeler, ref, call.args["dim"] % len(ref.shape))


def _slice(call: NodeCall, labeler: Labeler) -> Iterator[Counted]:
    labels = _input_axis(call, labeler)
    # Every second position from the second on: pairs go together, and each keeps its own second position.
    for argument in ("start", "end") if call.args["step"] == 1 else ("end",):
        position = call.args[argument]
        if isinstance(position, int) and 0 <= position <= len(labels):
            yield argument, labels[:position]


def _narrow(call: NodeCall, labeler: Labeler) -> Iterator[Counted]:
    labels, start, length = _input_axis(call, labeler), call.args["start"], call.args["length"]
    yield "start", labels[:start]
    yield "length", labels[start : start + length]


def _select(call: NodeCall, labeler: Labeler) -> Iterator[Counted]:
    if call.args["index"] >= 0:
        yield "index", _input_axis(call, labeler)[: call.args["index"]]


def _roll(call: NodeCall, labeler: Labeler) -> Iterator[Counted]:
    ref, dims = call.args["self"], call.args["dims"]
    for place, (dim, shift) in enumerate(zip(dims, call.args["shifts"], strict=True) if dims else ()):
        labels = _along(labeler, ref, dim % len(ref.shape))
        if 0 < shift <= len(labels):
            yield f"shifts.{place}", labels[-shift:]


def _pad(call: NodeCall, labeler: Labeler) -> Iterator[Counted]:
    out, pad = call.outs[0], call.args["pad"]
    for place, amount in enumerate(pad):
        labels = _along(labeler, out, len(out.shape) - 1 - place // 2)
        if amount > 0:
            yield f"pad.{place}", labels[-amount:] if place % 2 else labels[:amount]


_NEW: Sequence[str] = ("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty", "expand")
_COUNTS: dict[str, Count] = {
    **{f"aten.{name}": _sizes("size") for name in ("view", "_unsafe_view", "view_copy", *_NEW)},
    "aten.reshape": _sizes("shape"),
    "aten.unflatten": _unflatten,
    "aten.split_with_sizes": _split,
    "aten.slice": _slice,
    "aten.narrow": _narrow,
    "aten.select": _select,
    "aten.roll": _roll,
    "aten.pad": _pad,
    "aten.constant_pad_nd": _pad,
    "aten.layer_norm": _sizes("normalized_shape", trailing=True),
    "aten.rms_norm": _sizes("normalized_shape", trailing=True),
}
