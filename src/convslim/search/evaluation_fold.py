"""BatchNorms that a convolution takes over while a candidate is judged.

w'[o] = w[o] · γ[o] / √(σ²[o] + ε)        b'[o] = (b[o] - μ[o]) · γ[o] / √(σ²[o] + ε) + β[o]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from convslim.channels.tape import OpCall, Tape
from convslim.search.evaluation_shell import Shell
from convslim.search.evaluation_statistics import is_plain

_CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMALIZING: Final = ("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training")


@dataclass(frozen=True, eq=False)
class FoldedPair:
    """A convolution and the BatchNorm that alone reads it, by module name; `conv` without the other's work."""

    conv: str
    norm: str


def pairs_to_fold(tape: Tape, network: nn.Module) -> tuple[FoldedPair, ...]:
    """Convolutions of PyTorch, each called once, without hooks, and read by nothing but a BatchNorm of that kind."""
    modules = dict(network.named_modules())
    readers: dict[int, list[OpCall]] = {}
    for call in tape.calls:
        for ref in call.inputs:
            readers.setdefault(ref.id, []).append(call)
    returned = {ref.id for ref in tape.outputs}
    ran = [call.module for call in tape.calls if call.name in ("convolution", *_NORMALIZING)]
    pairs = []
    for call in tape.calls:
        if call.name != "convolution" or call.outs[0].id in returned:
            continue
        behind = readers.get(call.outs[0].id, [])
        if len(behind) != 1 or behind[0].name not in _NORMALIZING:
            continue
        names = call.module, behind[0].module
        conv, norm = (modules[name] for name in names)
        fits = type(conv) in _CONVOLUTIONS and _is_unhooked(conv) and is_plain(norm)
        if fits and all(ran.count(name) == 1 for name in names):
            pairs.append(FoldedPair(*names))
    return tuple(pairs)


def _is_unhooked(module: nn.Module) -> bool:
    return not (module._forward_hooks or module._forward_pre_hooks or module._modules or "forward" in vars(module))


def folded(
    weight: Tensor, bias: Tensor | None, norm: _BatchNorm, scale: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that does the BatchNorm's work, too; all of it float32.

    Args:
        weight: (C_out, C_in/groups, …).
        bias: (C_out,), or None.
        norm: Its statistics and ε are used.
        scale: γ, (C_out,), or None.
        shift: β, (C_out,), or None.
    """
    assert norm.running_mean is not None, "statistics are tracked"
    assert norm.running_var is not None, "statistics are tracked"
    factor = torch.rsqrt(norm.running_var + norm.eps)
    factor = factor if scale is None else factor * scale
    offset = (0.0 if bias is None else bias) - norm.running_mean
    offset = offset * factor if shift is None else offset * factor + shift
    return weight * factor.reshape(-1, *[1] * (weight.dim() - 1)), offset


class Folding:
    """Takes BatchNorms out of a shell's network and puts them back, as often as asked.

    Args:
        shell: Holds the network.
        pairs: What is folded in it.
    """

    def __init__(self, shell: Shell, pairs: Sequence[FoldedPair]) -> None:
        self.pairs = tuple(pairs)
        self._shell = shell
        modules = shell.modules()
        norms = {id(modules[pair.norm]) for pair in self.pairs}
        self._places = [
            (module._modules, leaf, child)
            for module in shell.network.modules()
            for leaf, child in module._modules.items()
            if child is not None and id(child) in norms
        ]
        self._identity = nn.Identity()

    def undo_(self) -> None:
        """Put the BatchNorms back; to be called before a candidate's tensors are put in."""
        for children, leaf, norm in self._places:
            children[leaf] = norm
        for pair in self.pairs:
            if self._shell.held(pair.conv, "bias") is None:
                self._shell.modules()[pair.conv]._parameters["bias"] = None

    @torch.no_grad()
    def do_(self) -> None:
        """Let the convolutions do the BatchNorms' work, with the statistics that these hold now."""
        modules, held = self._shell.modules(), self._shell.held
        for pair in self.pairs:
            conv, norm, kernel = modules[pair.conv], modules[pair.norm], held(pair.conv, "weight")
            assert isinstance(norm, _BatchNorm), "pairs end with a BatchNorm"
            assert kernel is not None, "a convolution has a weight"
            scale, shift = held(pair.norm, "weight"), held(pair.norm, "bias")
            weight, offset = folded(kernel, held(pair.conv, "bias"), norm, scale, shift)
            conv._parameters["weight"] = self._shell.rounded(weight)  # type: ignore[assignment]
            conv._parameters["bias"] = self._shell.rounded(offset)  # type: ignore[assignment]
        for children, leaf, _ in self._places:
            children[leaf] = self._identity
