"""Fused scaled-dot-product attention: ``softmax(q k^T / sqrt(E)) v`` over ``(B, H, L, E)``."""

from convslim.channels.labeler import Labeler, Rule
from convslim.channels.labels import Vector
from convslim.channels.tape import OpCall
from convslim.channels.values import Axes, layer, vector


def attention(call: OpCall, labeler: Labeler) -> None:
    """The value's features pass; those of query and key meet in a product and are scaled by ``1/sqrt(E)``."""
    query, key, value = call.inputs[:3]
    _score(call, labeler)
    for ref in call.inputs[3:]:
        labeler.pin_dims(call, ref, range(len(ref.shape)), "the channels are an attention mask")
    for ref in (query, key, value):
        labeler.pin_dims(call, ref, [len(ref.shape) - 2], "attention runs along the channel dimension")
    axes: Axes = {len(value.shape) - 1: vector(labeler.axes(value), len(value.shape) - 1, value.shape[-1])}
    for dim in range(len(query.shape) - 2):
        heads = vector(labeler.axes(value), dim, value.shape[dim])
        for ref in (query, key):
            labeler.unite(heads, vector(labeler.axes(ref), dim, ref.shape[dim]), call)
        axes[dim] = heads
    labeler.put(call.outs[0], axes, origin=f"the output of {call.module or call.title}")
    pairs: list[int | Vector] = [*(vector(axes, dim, size) for dim, size in enumerate(query.shape[:-1])), key.shape[-2]]
    for ref in (query, value):
        last = len(ref.shape) - 1
        labeler.layers.append(layer(call, "", [*pairs, vector(labeler.axes(ref), last, ref.shape[last])]))


def _score(call: OpCall, labeler: Labeler) -> None:
    """``q k^T``: in a program the scale is a number of its own, so features may go; elsewhere it counts them."""
    query, key = call.inputs[:2]
    last = len(query.shape) - 1
    if call.node and call["scale"] is not None:
        labels = vector(labeler.axes(query), last, query.shape[last])
        labeler.unite(labels, vector(labeler.axes(key), last, key.shape[last]), call)
        labeler.consume(call, 0, last, labels, None)
        return
    for ref in (query, key):
        labels = vector(labeler.axes(ref), last, ref.shape[last])
        labeler.pin(labels, call, "their number is in the scale of the attention", in_code=True)


_FUSED = (
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_attention_math scaled_dot_product_attention "
    "_scaled_dot_product_cudnn_attention"
)

RULES: dict[str, Rule] = dict.fromkeys(_FUSED.split(), attention)
