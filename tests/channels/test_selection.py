"""Models that select elements by their values: what is before can be cut and proven, what is behind stays."""

import pytest
import torch
from torch import nn

from convslim import make_plan, trace
from convslim.channels.recorder import record
from convslim.conformance.case import Micro, conv_norm
from convslim.surgery.remove import carry_out

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def detector(select):
    """A backbone, a head with a score per position, and a second head on the positions that were selected."""

    def run(net, x):
        x = net.b(net.a(x).relu()).relu()
        found = select(net.score(x).flatten(), x.flatten(2)[0].T)
        return {"rows": net.second(net.first(found).relu()), "scores": net.score(x)}

    torch.manual_seed(0)
    return Micro(
        run,
        a=conv_norm(3, 8),
        b=conv_norm(8, 6),
        score=nn.Conv2d(6, 1, 1),
        first=nn.Linear(6, 5),
        second=nn.Linear(5, 2),
    ).eval()


@pytest.mark.parametrize(
    "select",
    [
        lambda scores, rows: rows[torch.where(scores > 0)[0]],
        lambda scores, rows: rows[scores > 0],
        lambda scores, rows: rows[(scores > 0).nonzero().flatten()],
    ],
)
def test_layers_before_the_selection_are_cut_and_proven(select):
    net = detector(select)
    graph = trace(net, X)
    assert [group.name for group in graph.prunable] == ["a.conv"]
    assert "elements are selected by their values before" in graph.explain("first")
    (note,) = [note for note in graph.notes if "selected by their values" in note]
    assert "test_selection.py:" in note
    removal = carry_out(net, make_plan(graph, {"a.conv": [0, 3, 4, 7]}), X, graph=graph)
    assert removal.certificate.num_outputs >= 2
    assert removal.certificate.relative_error < 1e-5
    assert removal.model(X)["rows"].shape[1] == 2


def test_a_mask_on_constants_is_no_selection():
    def run(net, x):
        table = torch.arange(8.0)
        return net.head(net.a(x) * table[table > 3][:1])

    net = Micro(run, a=conv_norm(3, 8), head=nn.Conv2d(8, 2, 1)).eval()
    assert record(net, X).selection is None
    assert [group.name for group in trace(net, X).prunable] == ["a.conv"]


def test_a_run_ends_at_the_selection_with_what_goes_in():
    net = detector(lambda scores, rows: rows[scores > 0])
    whole = record(net, X)
    assert whole.selection is not None
    cut = record(net, X, until=whole.selection)
    assert len(cut.calls) == whole.selection.index == whole.compared
    assert len(cut.result) == len(whole.selection.kept)
    assert any(tensor.shape == (64, 6) for tensor in cut.result)
