"""The quick copy of a module is the copy that ``copy.deepcopy`` makes."""

import copy

import pytest
import torch
from torch import nn

from convslim.channels.copying import copied_module


class Holder(nn.Module):
    """Everything that modules hold: shared and missing children, lists of modules, tensors and plain values."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Conv2d(3, 4, 1)
        self.again = self.shared
        self.empty = nn.Sequential()
        self.missing = None
        self.register_module("none", None)
        self.order = [self.shared, self.empty]
        self.sizes = {"width": 4, "pair": (2, 3), "nested": [1, {2: 3}]}
        self.table = torch.arange(3)
        self.first_table = {"table": self.table}
        self.register_buffer("count", torch.zeros(2))
        self.register_forward_hook(print)
        self.around = self.sizes
        self.eval()


class Counted(nn.Module):
    """Copies itself in its own way."""

    def __deepcopy__(self, memo):
        twin = Counted()
        twin.copied = True
        return twin


def test_what_is_shared_stays_shared_and_nothing_is_common_with_the_original():
    net = Holder()
    twin = copied_module(net, {})
    assert twin.shared is twin.again is twin.order[0]
    assert twin.empty is twin.order[1]
    assert twin.empty is not net.empty
    assert twin.first_table["table"] is twin.table
    assert twin.around is twin.sizes
    assert twin.sizes == net.sizes
    assert twin.sizes["nested"] is not net.sizes["nested"]
    assert twin.table is not net.table
    assert torch.equal(twin.shared.weight, net.shared.weight)
    assert twin.shared.weight.data_ptr() != net.shared.weight.data_ptr()
    assert (twin.none, twin.training, len(twin._forward_hooks)) == (None, False, 1)
    assert str(twin) == str(net)
    assert vars(twin).keys() == vars(copy.deepcopy(net)).keys()


def test_the_memo_stands_in_for_tensors():
    net = nn.Linear(2, 2)
    other = nn.Parameter(torch.zeros(1, 2))
    assert copied_module(net, {id(net.weight): other}).weight is other


@pytest.mark.parametrize(
    "child",
    [Counted(), nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 1)), nn.LSTM(2, 2)],
    ids=lambda m: str(m)[:7],
)
def test_modules_with_a_way_of_their_own_keep_it(child):
    twin = copied_module(nn.Sequential(nn.ReLU(), child), {})
    assert type(twin[1]) is type(child) or isinstance(twin[1], nn.Conv2d)
    assert hasattr(twin[1], "copied") == isinstance(child, Counted)
    assert {name: tuple(p.shape) for name, p in twin[1].named_parameters()} == {
        name: tuple(p.shape) for name, p in child.named_parameters()
    }
