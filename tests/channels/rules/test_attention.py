"""Attention: value features pass, the scaled ones are pinned, heads are common."""

import pytest
import torch
import torch.nn.functional as F
from tests.channels.sketch import X, conv, places, reasons, sketch, widths
from torch import nn

from convslim.channels.labeler import Labeler
from convslim.channels.recorder import record
from convslim.channels.rules import RULES, by_tag
from convslim.conformance.case import Micro


def tokens(x):
    return x.flatten(2).transpose(1, 2).contiguous()


def fused(q, k, v, mask=None):
    """One head; PyTorch's fused operation wants that dimension."""
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], attn_mask=mask)[:, 0]


def attention(net, x):
    return net.head(fused(tokens(net.q(x)), tokens(net.k(x)), tokens(net.v(x))))


def parts(queries=6, values=6):
    return {"q": conv(3, queries), "k": conv(3, queries), "v": conv(3, values), "head": nn.Linear(values, 2)}


def test_the_values_features_pass_and_the_scaled_ones_are_pinned():
    net = Micro(attention, **parts()).eval()
    tape, labeler = record(net, X), Labeler(RULES)
    labeler.walk(tape, by_tag)
    (call,) = [call for call in tape.calls if "scaled_dot_product" in call.name]
    axes = labeler.axes(call.outs[0])
    assert axes.keys() == {3}
    assert (axes[3] == labeler.seeds["v.weight"][0]).all()
    pinned = {tuple(labels) for labels, pin in labeler.pins if "in the scale of the attention" in pin.reason}
    assert pinned == {tuple(labeler.seeds[f"{name}.weight"][0]) for name in "qk"}


def test_the_fused_operation_is_kept_fused():
    """With fewer value features than query features PyTorch would take another way to the same values."""
    graph = sketch(attention, **parts())
    assert widths(graph) == {}
    for name in ("q", "k"):
        assert "their number is in the scale of the attention (aten._scaled_dot_product" in reasons(graph, name)
    assert "fixed in the code here (aten._scaled_dot_product" in reasons(graph, "v")


def test_attention_written_out_with_a_fixed_scale_is_free():
    def run(net, x):
        q, k, v = tokens(net.q(x)), tokens(net.k(x)), tokens(net.v(x))
        return net.head((q @ k.transpose(1, 2) * 0.4).softmax(-1) @ v)

    graph = sketch(run, **parts())
    assert widths(graph) == {"q": 6, "v": 6}
    assert graph.group("q").producers == ("q", "k")


def test_attention_written_out_with_a_computed_scale_pins():
    def run(net, x):
        q, k, v = tokens(net.q(x)), tokens(net.k(x)), tokens(net.v(x))
        return net.head((q @ k.transpose(1, 2) / q.size(-1) ** 0.5).softmax(-1) @ v)

    graph = sketch(run, **parts())
    assert widths(graph) == {"v": 6}


def test_attention_over_channels_pins_them():
    def run(net, x):
        rows = net.v(x).flatten(2).contiguous()
        return net.head(fused(rows, rows, rows).transpose(1, 2))

    graph = sketch(run, v=conv(3, 4), head=nn.Linear(4, 2))
    assert "attention runs along the channel dimension" in reasons(graph, "v")


def test_a_mask_made_of_channels_pins():
    def run(net, x):
        q, k, v = tokens(net.q(x)), tokens(net.k(x)), tokens(net.v(x))
        return net.head(fused(q, k, v, tokens(net.m(x))[:, None]))

    graph = sketch(run, **parts(), m=conv(3, 64))
    assert "the channels are an attention mask" in reasons(graph, "m")


@pytest.mark.parametrize("heads", [2, 3])
def test_heads_keep_their_number_and_lose_equal_features(heads):
    def run(net, x):
        q, k, v = (tokens(layer(x)).unflatten(-1, (heads, -1)).transpose(1, 2) for layer in (net.q, net.k, net.v))
        return net.head(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    graph = sketch(run, **parts(6 * heads, 4 * heads))
    assert widths(graph) == {"v": 4}
    block = [[4 * head + feature for head in range(heads)] for feature in range(4)]
    assert places(graph, "v") == {("v.weight", 0): block, ("head.weight", 1): block}


def test_the_fused_path_of_evaluation_mode_is_not_taken():
    net = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.0)
    graph = sketch(lambda own, x: own.layer(x), torch.ones(1, 5, 8), layer=net)
    assert widths(graph)["layer.linear1"] == 12
    assert all("unknown" not in str(pin) for group in graph.groups for pin in group.pins)


def test_products_of_activations_are_counted():
    graph = sketch(attention, X, **parts())
    calls = [call for call in graph.calls if call.weight is None]
    assert [call.macs() for call in calls] == [64 * 64 * 6, 64 * 64 * 6]
