"""Sabotage: whatever is wrong with a smaller model, the proof fails and says where."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convslim import make_plan, rebuild, trace, verify
from convslim.conformance.case import Micro, conv_norm, head, randomize_
from convslim.errors import PlanError, VerificationError
from convslim.surgery.remove import carry_out

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
KEPT = {"stem.conv": [0, 2, 3, 7], "a.conv": [1, 4, 5]}


def run(net, x):
    x = net.act(net.stem(x))
    y = net.b(net.act(net.a(x)))
    pooled = F.adaptive_avg_pool2d(x + y, 1).flatten(1)
    return {"classes": net.fc(pooled), "map": net.head(x * 2)}


def network(width=8):
    parts = {"stem": conv_norm(3, width), "a": conv_norm(width, 6), "b": conv_norm(6, width)}
    net = Micro(run, **parts, act=nn.SiLU(), fc=nn.Linear(width, 5), head=head(width))
    randomize_(net)
    return net.eval()


@pytest.fixture
def net():
    return network()


@pytest.fixture
def plan(net):
    return make_plan(trace(net, X), KEPT)


@pytest.fixture
def small(net, plan):
    return rebuild(net, plan)


def test_certificate(net, small, plan):
    certificate = verify(net, small, plan, X)
    assert certificate.num_outputs == 2
    assert certificate.num_operations == len(trace(net, X).evidence.tape.calls)
    assert certificate.tolerance == 1e-4
    with torch.no_grad():
        largest = max(float(tensor.abs().max()) for tensor in small(X).values())
    assert 0 <= certificate.max_error <= 1e-6 * largest
    assert certificate.relative_error <= 1e-6


def test_nothing_removed_is_bit_equal(net):
    certificate = verify(net, copy.deepcopy(net), make_plan(trace(net, X), {}), X)
    assert (certificate.max_error, certificate.relative_error) == (0.0, 0.0)


def test_models_and_random_state_are_as_before(net, small, plan):
    state, mode = torch.get_rng_state(), [net.train().training, small.training]
    tensors = {name: t.clone() for model in (net, small) for name, t in model.state_dict(prefix=str(id(model))).items()}
    verify(net, small, plan, X)
    assert torch.equal(torch.get_rng_state(), state)
    assert [net.training, small.training] == mode
    for model in (net, small):
        assert all(torch.equal(t, tensors[n]) for n, t in model.state_dict(prefix=str(id(model))).items())


def swap_filters(small):
    small.a.conv.weight.data = small.a.conv.weight[[1, 0, 2]]


def swap_inputs(small):
    small.b.conv.weight.data = small.b.conv.weight[:, [0, 2, 1]]


def swap_statistics(small):
    small.stem.norm.running_mean.data = small.stem.norm.running_mean[[3, 1, 2, 0]]


def change_one_weight(small):
    small.fc.weight[2, 1] += 0.05


def change_one_bias(small):
    small.head.bias[0] += 0.05


def nan_in_weights(small):
    small.b.conv.weight[0, 0, 0, 0] = torch.nan


def other_epsilon(small):
    small.b.norm.eps = 0.1


VALUES = {
    swap_filters: r"aten\.convolution\.default in a\.conv",
    swap_inputs: r"aten\.convolution\.default in b\.conv",
    swap_statistics: r"\S*batch_norm\S* in stem\.norm",
    change_one_weight: r"\S+ in fc",
    change_one_bias: r"aten\.convolution\.default in head",
    nan_in_weights: r"aten\.convolution\.default in b\.conv",
    other_epsilon: r"\S*batch_norm\S* in b\.norm",
}


@pytest.mark.parametrize("sabotage", VALUES, ids=lambda function: function.__name__)
def test_wrong_values_are_found_where_they_are(sabotage, net, small, plan):
    with torch.no_grad():
        sabotage(small)
    message = r"differs from the masked original's by \S+ \(\S+ of the largest value; allowed 0\.0001\), "
    with pytest.raises(
        VerificationError, match=rf"{message}first at operation \d+, {VALUES[sabotage]} \(\S+:\d+\)\. Noth"
    ):
        verify(net, small, plan, X)


def lose_an_activation(small):
    small.act = nn.Identity()


def other_activation(small):
    small.act = nn.Sigmoid()


def other_stride(small):
    small.a.conv.stride = (2, 2)


def wrong_width(small):
    small.a.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)


def other_code(small):
    small.run = lambda net, x: {"classes": net.fc(x.mean((2, 3))), "map": x}


def no_result(small):
    small.run = lambda net, x: run(net, x) and {}


STRUCTURES = {
    lose_an_activation: r"aten\.silu\.default in act \(\S+\): .* runs aten\.convolution\.default where",
    other_activation: r"aten\.silu\.default in act \(\S+\): .* runs aten\.sigmoid\.default where",
    other_stride: r"aten\.convolution\.default in a\.conv \(\S+\): .*dimension 2 has size 4 instead of 8",
    wrong_width: r"aten\.convolution\.default in a\.conv \(\S+\): .*dimension 1 has 4 channels instead of 3",
    other_code: r"operation 0, aten\.convolution\.default in stem\.conv .*runs aten\.mean\.dim where the model runs",
    no_result: r"returns 0 tensors instead of 2",
}


@pytest.mark.parametrize("sabotage", STRUCTURES, ids=lambda function: function.__name__)
def test_other_structure_is_found_where_it_is(sabotage, net, small, plan):
    sabotage(small)
    with pytest.raises(VerificationError, match=STRUCTURES[sabotage]):
        verify(net, small, plan, X)


def test_channels_in_another_order_are_found(net, plan):
    """The same code, widths and names, but a roll moves the channels: only their labels know."""

    def rolled(net, x):
        x = net.act(net.a(x))
        return net.head(x.roll(net.shift, 1))

    net = Micro(rolled, a=conv_norm(3, 8), act=nn.ReLU(), head=head(8)).eval()
    net.shift = 0
    graph = trace(net, X)
    plan = make_plan(graph, {"a.conv": [0, 1, 2, 5]})
    small = rebuild(net, plan)
    small.shift = 1
    with pytest.raises(
        VerificationError, match=r"aten\.roll\.default .*the channels along dimension 1 are not the ones"
    ):
        verify(net, small, plan, X, graph=graph)


def test_a_smaller_model_that_fails_says_why(net, small, plan):
    def failing(net, x):
        net.stem(x)
        raise ValueError("no luck today")

    small.run = failing
    with pytest.raises(VerificationError, match=r"silu.*in act .*: the smaller model fails here: no luck today"):
        verify(net, small, plan, X)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_model_that_gives_no_numbers_cannot_be_compared(value, net, small, plan):
    with torch.no_grad():
        for model in (net, small):
            model.fc.bias[0] = value
    with pytest.raises(VerificationError, match=r"Output 0 of the model holds NaN or infinity .*usual values"):
        verify(net, small, plan, X)


def test_the_tolerance_is_the_users(net, small, plan):
    with torch.no_grad():
        small.fc.weight[0] *= 1 + 1e-5
    certificate = verify(net, small, plan, X)
    assert 1e-7 < certificate.relative_error < 1e-4
    with pytest.raises(VerificationError, match=r"allowed 1e-08.* in fc"):
        verify(net, small, plan, X, tolerance=1e-8)


def test_one_channel_left_is_still_proven_by_numbers(net):
    plan = make_plan(trace(net, X), {"a.conv": [2], "stem.conv": [1]})
    small = rebuild(net, plan)
    assert verify(net, small, plan, X).relative_error <= 1e-6
    with torch.no_grad():
        small.b.norm.bias += 0.1
    with pytest.raises(VerificationError, match="differs from the masked original's"):
        verify(net, small, plan, X)


def test_a_plan_for_another_model_is_refused(plan):
    other = network(10)
    with pytest.raises(PlanError, match=r"made for another model .*Make the plan from a trace of this model"):
        verify(other, other, plan, X)


def test_a_certificate_says_that_statistics_were_taken_over_the_kept_channels():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.GroupNorm(1, 8), nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1)
    ).eval()
    x = torch.randn(1, 3, 6, 6)
    graph = trace(net, x)
    both = carry_out(net, make_plan(graph, {"0": [1, 2, 6], "2": [0, 1]}), x, graph=graph)
    assert (both.certificate.num_approximate, both.certificate.exact) == (1, False)
    assert both.certificate.relative_error < 1e-5
    inner = carry_out(net, make_plan(graph, {"2": [0, 1]}), x, graph=graph)
    assert inner.certificate.exact


def test_a_plan_of_exact_groups_is_carried_out_without_its_graph():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.GroupNorm(1, 8), nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1)
    ).eval()
    x = torch.randn(1, 3, 6, 6)
    graph = trace(net, x, approximate=False)
    assert [group.name for group in graph.prunable] == ["2"]
    assert carry_out(net, make_plan(graph, {"2": [0, 5]}), x).certificate.exact


def test_the_renormalized_reference_is_the_formula():
    """Against layer normalization written out over the kept channels alone."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 2)).eval()
    nn.init.uniform_(net[1].weight, 0.5, 1.5)
    x, kept = torch.randn(4, 3), [0, 2, 3, 7]
    graph = trace(net, x)
    small = carry_out(net, make_plan(graph, {"0": kept}), x, graph=graph).model
    features = net[0](x)[:, kept]
    normal = (features - features.mean(1, keepdim=True)) / torch.sqrt(
        features.var(1, unbiased=False, keepdim=True) + 1e-5
    )
    expected = (normal * net[1].weight[kept]) @ net[2].weight[:, kept].T + net[2].bias
    assert torch.allclose(small(x), expected, atol=1e-5)
