"""A copy of a network whose tensors are exchanged from candidate to candidate.

The copy is made once. A candidate's tensors are slices of the network's, put where the whole ones were; nothing is
copied, traced or compiled again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from convslim.channels.copying import copied_module
from convslim.channels.graph import ChannelGraph
from convslim.channels.program.numbers import is_number_name, number_at
from convslim.channels.program.rewrite import arguments, set_arguments
from convslim.channels.slicing import set_attribute_, sliced, sync_attributes_
from convslim.channels.tape import named_tensors
from convslim.errors import ModelError
from convslim.surgery.plan import PruningPlan

NUMBERS: Final = "_numbers"


class Shell:
    """A network with exchangeable tensors.

    Attributes:
        network: Runs the candidate that was put in last, in evaluation mode.
        whole: The unpruned network's tensors by name, at the shell's layout, float32.
        now: The tensors of the candidate by name, float32.

    Args:
        form: The network in the form that plans are carried out on; left as it is.
        graph: Its channel graph.
        dtype: Of what is computed; BatchNorms keep float32.
        layout: Of weights with four dimensions.

    Raises:
        ModelError: If the network cannot be copied.
    """

    def __init__(self, form: nn.Module, graph: ChannelGraph, dtype: torch.dtype, layout: torch.memory_format) -> None:
        tensors = named_tensors(form)
        self.whole = {name: _laid_out(tensor.detach().clone(), layout) for name, tensor in tensors.items()}
        memo: dict[int, Any] = {id(tensor): self.whole[name] for name, tensor in tensors.items()}
        try:
            self.network = copied_module(form, memo)
        except Exception as error:
            raise ModelError(f"{type(form).__name__} cannot be copied: {error}.") from error
        self.network.eval()
        self.now: dict[str, Tensor] = dict(self.whole)
        self._modules = dict(self.network.named_modules(remove_duplicate=False))
        names = {id(tensor): name for name, tensor in self.whole.items()}
        self._holders: list[tuple[dict[str, Any], str, str]] = [
            (held, leaf, names[id(tensor)])
            for module in self.network.modules()
            for held in (module._parameters, module._buffers)
            for leaf, tensor in held.items()
            if tensor is not None
        ]
        self._owners: dict[str, list[nn.Module]] = {}
        self._names: dict[tuple[str, str], str] = {}
        for path, module in self._modules.items():
            for leaf, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    self._names[path, leaf] = names[id(tensor)]
                    owner = path.removesuffix(".parametrizations").partition(".parametrizations.")[0]
                    self._owners.setdefault(names[id(tensor)], []).append(self._modules[owner])
        self._exact = _of_batchnorms(self.network, names)
        self._dtype, self._layout = dtype, layout
        self._touched: set[str] = set()
        self._numbers = {count.name for count in graph.attributes if is_number_name(count.name)}
        if self._numbers:
            assert isinstance(self.network, fx.GraphModule), "only graphs hold numbers"
            _free_numbers_(self.network, self._numbers)
        self._attributes = {count.name: self._attribute(count.name) for count in graph.attributes}

    def _attribute(self, name: str) -> int:
        if name in self._numbers:
            return int(getattr(self.network.get_submodule(NUMBERS), _leaf(name)))
        return int(getattr(self._modules[name.rpartition(".")[0]], name.rpartition(".")[2]))

    @torch.no_grad()
    def put_(self, plan: PruningPlan, refitted: Mapping[str, Tensor] = MappingProxyType({})) -> None:
        """Exchange the tensors for those of a candidate: slices, or what was refitted of them."""
        self.now = {
            name: _laid_out(sliced(tensor, plan.slices[name]), self._layout) if name in plan.slices else tensor
            for name, tensor in self.whole.items()
        }
        self.now |= {name: _laid_out(tensor, self._layout) for name, tensor in refitted.items()}
        for held, leaf, name in self._holders:
            held[leaf] = self.cast(name)
        for name, number in {**self._attributes, **plan.attributes}.items():
            if name in self._numbers:
                setattr(self.network.get_submodule(NUMBERS), _leaf(name), number)
            else:
                set_attribute_(self._modules, name, number)
        for name in self._touched | plan.slices.keys():
            for module in self._owners[name]:
                sync_attributes_(module)
        self._touched = set(plan.slices)

    def held(self, module: str, leaf: str) -> Tensor | None:
        """The candidate's parameter or buffer of a module, float32; None if there is none."""
        name = self._names.get((module, leaf))
        return None if name is None else self.now[name]

    def tensors_of(self, path: str, leaf: str | None = None) -> set[str]:
        """Names of the tensors of a module and of those inside, or of one of its own."""
        inside = f"{path}." if path else ""
        return {
            name
            for (owner, own), name in self._names.items()
            if (owner == path and leaf in (None, own)) or (leaf is None and owner.startswith(inside))
        }

    def cast(self, name: str) -> Tensor:
        """A tensor of the candidate as the network computes with it."""
        return self.now[name] if name in self._exact else self.rounded(self.now[name])

    def rounded(self, tensor: Tensor) -> Tensor:
        """A tensor at the precision that the network computes with."""
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor

    def modules(self) -> Mapping[str, nn.Module]:
        """The network's modules by each of their names."""
        return self._modules

    def norms(self) -> Iterator[_BatchNorm]:
        """BatchNorms that have statistics to estimate."""
        for module in self.network.modules():
            if isinstance(module, _BatchNorm) and module.track_running_stats:
                yield module


def _laid_out(tensor: Tensor, layout: torch.memory_format) -> Tensor:
    return tensor.contiguous(memory_format=layout) if tensor.dim() == 4 else tensor


def _of_batchnorms(network: nn.Module, names: Mapping[int, str]) -> set[str]:
    """Tensors that stay float32, whatever the network computes with."""
    held = [
        tensor
        for module in network.modules()
        if isinstance(module, _BatchNorm)
        for tensor in (*module._parameters.values(), *module._buffers.values())
    ]
    return {names[id(tensor)] for tensor in held if tensor is not None}


def _leaf(name: str) -> str:
    """``"view_3:size.1"`` as an attribute."""
    return name.replace(":", "__").replace(".", "_")


def _free_numbers_(network: fx.GraphModule, names: set[str]) -> None:
    """Let the graph read numbers that count channels from attributes, so that it is compiled once."""
    holder = nn.Module()
    network.add_module(NUMBERS, holder)
    nodes = {node.name: node for node in network.graph.nodes}
    for name in names:
        owner, _, path = name.partition(":")
        argument, _, place = path.partition(".")
        node, named = nodes[owner], arguments(nodes[owner])
        setattr(holder, _leaf(name), number_at(named, argument, place))
        with network.graph.inserting_before(node):
            read = network.graph.create_node("get_attr", f"{NUMBERS}.{_leaf(name)}")
        if place:
            values = list(named[argument])
            values[int(place)] = read
            named[argument] = values
        else:
            named[argument] = read
        set_arguments(node, named)
    network.recompile()
