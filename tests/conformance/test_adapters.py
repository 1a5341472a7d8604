"""Adapters give tools all that users know, and nothing that only the suite knows."""

import pytest

from convslim.conformance import CASES, Verdict, judge, open_tool

TABLE = {case.name: case for case in CASES}


def test_convslim_says_why() -> None:
    tool = open_tool("convslim")
    assert judge(TABLE["plain"], tool).verdict is Verdict.EXACT
    softmax, custom = judge(TABLE["softmax"], tool), judge(TABLE["custom_op"], tool)
    assert (softmax.verdict, custom.verdict) == (Verdict.APPROXIMATE, Verdict.REFUSED)
    assert "softmax runs over the channels" in softmax.reason
    assert "mystery" in custom.reason


TORCH_PRUNING = {
    "plain": Verdict.EXACT,
    "frozen": Verdict.EXACT,  # gradients are switched on
    "keyword_inputs": Verdict.EXACT,  # inputs by name, nested outputs
    "token_heads": Verdict.EXACT,  # heads are told
    "layer_scale": Verdict.EXACT,  # the dimension of a raw parameter is told
    "transposed_tie": Verdict.EXACT,  # where its own guess is the better one
    "scalar_scale": Verdict.EXACT,  # a raw parameter without channels
    "accumulate": Verdict.EXACT,  # a new tensor of zeros binds nothing
    "library_heads": Verdict.UNDECLARED,  # right but for the softmax's scale, which follows the width
    "flip": Verdict.WRONG,  # its readers lose the slices that the flipped channels do not come through
}


@pytest.mark.parametrize("name", TORCH_PRUNING)
def test_torch_pruning_is_used_well(name: str) -> None:
    pytest.importorskip("torch_pruning", reason="Torch-Pruning is not installed")
    judgment = judge(TABLE[name], open_tool("torch-pruning"))
    assert judgment.verdict is TORCH_PRUNING[name], judgment
