"""First layers that candidates share, run once: what they give is kept, and later candidates go on from there.

Children of a search have most widths of a parent, often all of the first ones. Where every tensor up to a cut of the
graph is the same, so are the activations there, of the images that statistics are estimated on as of those that count,
and the statistics of the BatchNorms before. A cut is a node that everything behind reads alone, such as the end of a
residual block.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from torch import Tensor, fx, nn

from convslim.channels.program.rewrite import packet
from convslim.search.evaluation_blocks import NAME, Block, Blocks
from convslim.search.evaluation_shell import NUMBERS, Shell
from convslim.surgery.plan import PruningPlan

MEMORY: Final = 2**30
"""Bytes of activations that are kept; those that were used last stay."""

MOST_CUTS: Final = 6
"""Cuts of a network, evenly spread over its blocks; every one takes memory."""

Key = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Cut:
    """A place where a network can be gone on with.

    Attributes:
        node: What everything behind reads alone.
        place: Its number among the nodes.
        tensors, numbers: What the activations there depend on: names of tensors, and of attributes with numbers.
        blocks: Numbers of the blocks up to it.
    """

    node: fx.Node
    place: int
    tensors: tuple[str, ...]
    numbers: tuple[str, ...]
    blocks: tuple[int, ...]


@dataclass(eq=False)
class _Kept:
    """What is known at a cut for one set of widths before it: activations by batch, statistics by block."""

    estimated: list[Tensor] = field(default_factory=list)
    judged: dict[int, Tensor] = field(default_factory=dict)
    statistics: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(each.numel() * each.element_size() for each in (*self.estimated, *self.judged.values()))


class Prefixes:
    """Runs the candidates of a shell's network, from the last cut on that is known.

    Args:
        shell: Holds the network.
        blocks: Its blocks, of which every BatchNorm is part.
        cuts: See :func:`cuts_of`.
        memory: Bytes to keep.

    Attributes:
        saved: Nodes that were not run, and nodes that would have been run.
    """

    def __init__(self, shell: Shell, blocks: Blocks, cuts: Sequence[Cut], memory: int = MEMORY) -> None:
        assert isinstance(shell.network, fx.GraphModule), "only graphs have cuts"
        self._network = shell.network
        self._nodes = list(shell.network.graph.nodes)
        self._readers = {node: max((self._nodes.index(user) for user in node.users), default=0) for node in self._nodes}
        self._blocks, self._cuts, self._memory = blocks, tuple(cuts), memory
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._now: list[_Kept] = []
        self._judging, self._batch, self._from = False, 0, -1
        self.saved = (0, 0)

    def begin_(self, plan: PruningPlan) -> None:
        """Before the statistics of a candidate, whose tensors are in the network, are estimated."""
        keys = [self._key(number, plan) for number in range(len(self._cuts))]
        self._now = [self._kept.setdefault(key, _Kept()) for key in keys]
        for key in keys:
            self._kept.move_to_end(key)
        known = [number for number, kept in enumerate(self._now) if kept.statistics]
        self._judging, self._batch, self._from = False, 0, max(known, default=-1)
        for kept in self._now[self._from + 1 :]:
            kept.estimated.clear()  # of a candidate that failed half-way

    def put_back_(self) -> None:
        """After the estimation: give blocks that were not run their statistics."""
        if self._from >= 0:
            for number, (mean, variance) in self._now[self._from].statistics.items():
                norm = self._blocks.blocks[number].norm
                assert norm.running_mean is not None, "statistics are tracked"
                assert norm.running_var is not None, "statistics are tracked"
                norm.running_mean.copy_(mean)
                norm.running_var.copy_(variance)

    def judge_(self) -> None:
        """When all blocks hold their statistics: keep these, and count from now on."""
        for cut, kept in zip(self._cuts, self._now, strict=True):
            if kept.estimated and not kept.statistics:
                kept.statistics = {number: _statistics(self._blocks.blocks[number]) for number in cut.blocks}
        self._judging, self._batch = True, 0
        self._forget_()

    def __call__(self, images: Tensor) -> Any:
        """What the network gives; batches have to come in the same order for every candidate."""
        number, self._batch = self._batch, self._batch + 1
        start = self._from
        if self._judging:
            start = max((place for place, kept in enumerate(self._now) if number in kept.judged), default=-1)
        first, known = 0, dict[fx.Node, Any]()
        if start >= 0:
            kept, first = self._now[start], self._cuts[start].place + 1
            known[self._cuts[start].node] = kept.judged[number] if self._judging else kept.estimated[number]
        self.saved = (self.saved[0] + first, self.saved[1] + len(self._nodes))
        return self._run(images, first, known, start, number)

    def _run(self, images: Tensor, first: int, known: dict[fx.Node, Any], start: int, number: int) -> Any:
        behind = {cut.place: kept for cut, kept in list(zip(self._cuts, self._now, strict=True))[start + 1 :]}
        machine = fx.Interpreter(self._network)
        machine.env, machine.args_iter = known, iter((images,))
        for place, node in enumerate(self._nodes):
            if place < first and node.op != "get_attr":
                continue
            known[node] = machine.run_node(node)
            for read in [read for read in node.all_input_nodes if self._readers[read] == place]:
                del known[read]
            if place in behind and self._judging:
                behind[place].judged[number] = known[node]
            elif place in behind:
                behind[place].estimated.append(known[node])
        return known[self._nodes[-1]]

    def _key(self, number: int, plan: PruningPlan) -> Key:
        """What two candidates have in common whose activations at a cut are the same."""
        cut, holder = self._cuts[number], getattr(self._network, NUMBERS, None)
        slices = tuple(tuple(sorted(plan.slices[name].items())) for name in cut.tensors if name in plan.slices)
        names = tuple(name for name in cut.tensors if name in plan.slices)
        return (number, names, slices, tuple(getattr(holder, name) for name in cut.numbers))

    def _forget_(self) -> None:
        total = sum(kept.size for kept in self._kept.values())
        while total > self._memory and len(self._kept) > len(self._cuts):
            _, gone = self._kept.popitem(last=False)
            total -= gone.size


def _statistics(block: Block) -> tuple[Tensor, Tensor]:
    norm = block.norm
    assert norm.running_mean is not None, "statistics are tracked"
    assert norm.running_var is not None, "statistics are tracked"
    return norm.running_mean.clone(), norm.running_var.clone()


def cuts_of(shell: Shell, blocks: Blocks) -> list[Cut]:
    """The places where a shell's network can be gone on with; none where an operation writes into what it reads."""
    network = shell.network
    if not isinstance(network, fx.GraphModule):
        return []
    nodes = list(network.graph.nodes)
    if any(_writes(node, network) for node in nodes):
        return []
    found = list(_all_cuts(nodes, shell, blocks))
    chosen = {round((number + 1) * len(found) / (MOST_CUTS + 1)) for number in range(MOST_CUTS)}
    return [cut for number, cut in enumerate(found) if number in chosen]


def _all_cuts(nodes: Sequence[fx.Node], shell: Shell, blocks: Blocks) -> Iterator[Cut]:
    tensors, numbers, inside = set[str](), set[str](), list[int]()
    open_until = 0  # the last reader of the nodes before
    places = {node: place for place, node in enumerate(nodes)}
    for place, node in enumerate(nodes):
        if node.op == "get_attr":
            owner, _, leaf = str(node.target).rpartition(".")
            if owner == NUMBERS:
                numbers.add(leaf)
            else:
                tensors |= shell.tensors_of(owner, leaf)
            continue
        if node.op == "call_module":
            block = _block_of(node)
            inner = [str(node.target)] if block is None else [blocks.pairs[block].conv, blocks.pairs[block].norm]
            tensors |= {name for path in inner for name in shell.tensors_of(path)}
            if block is not None:
                inside.append(block)
                if open_until <= place:
                    yield Cut(node, place, tuple(sorted(tensors)), tuple(sorted(numbers)), tuple(inside))
        open_until = max([open_until, *(places[user] for user in node.users)])


def _block_of(node: fx.Node) -> int | None:
    owner, _, number = str(node.target).partition(".")
    return int(number) if owner == NAME else None


def _writes(node: fx.Node, network: nn.Module) -> bool:
    """Whether a node may write into what it reads."""
    if node.op == "call_function":
        return not packet(node) or packet(node).endswith("_")
    if node.op == "call_module" and _block_of(node) is None:
        return any(getattr(module, "inplace", False) for module in network.get_submodule(str(node.target)).modules())
    return node.op == "call_method"
