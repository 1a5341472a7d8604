"""Running a program node by node, so that a recorder knows which node calls an operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from convslim.channels.program.rewrite import arguments

Note = Callable[[fx.Node, Mapping[str, Any], Any], None]


@dataclass(frozen=True)
class Running:
    """The node that runs now."""

    node: str = ""
    module: str = ""
    kind: str = ""
    source: str = ""


class Stepping(fx.Interpreter):
    """Runs a program and says, around every node, which one it is.

    Args:
        program: The ``GraphModule``.
        note: Is shown every ATen node with its arguments by schema name and its result.
    """

    def __init__(self, program: fx.GraphModule, note: Note) -> None:
        super().__init__(program)
        self._inputs = [str(node.target) for node in program.graph.nodes if node.op == "placeholder"]
        self.running = Running()
        self._note = note

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The program's output."""
        return self.run(*args, *(kwargs[name] for name in self._inputs[len(args) :]))

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        self.running = Running(n.name, *(n.meta.get(key, "") for key in ("module", "kind", "source")))
        result = super().run_node(n)
        if isinstance(n.target, torch._ops.OpOverload) and any(isinstance(r, Tensor) for r in _leaves(result)):
            self._note(n, self.map_nodes_to_values(arguments(n), n), result)  # type: ignore[arg-type]
        return result


def _leaves(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, list | tuple) else (result,)
