"""Walking a tape with channel labels as values: every operation's rule says where the channels go.

The state of the walk is a :class:`Value` per tensor: a label vector for each dimension that carries channels. Rules
(``rules/``) read the values of an operation's inputs, put those of its outputs, unite labels that must live or die
together, and pin what may not be removed. A weight has two such dimensions, filters and inputs; a feature map one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from convslim.channels.graph import Pin
from convslim.channels.labels import LabelStore, Vector
from convslim.channels.tape import OpCall, Tape, TensorRef
from convslim.channels.values import PADDED, Axes, Layer, Mark, Value, View, vector

Rule = Callable[[OpCall, "Labeler"], None]


class Labeler:
    """One walk over a tape.

    Args:
        rules: Rule by operation name.
        choices: For calls that leave a choice (how a split channel dimension may shrink), which option to take;
            an option beyond the last pins the channels.
        seeds: Label vectors of the model's own tensors; without them, every tensor gets fresh labels. With seeds
            the walk checks a rewritten model against the original's labels.
        sharing: A walk of the same model over another tape, whose labels this one goes on with.
        like: The original's walk, whose decisions a walk with seeds repeats.
        approximate: False pins channels whose removal changes the statistics that others are normalized with.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        choices: Mapping[int, int] | None = None,
        seeds: dict[str, Axes] | None = None,
        sharing: Labeler | None = None,
        like: Labeler | None = None,
        approximate: bool = True,
    ) -> None:
        self.store: LabelStore = sharing.store if sharing else LabelStore()
        self.seeds: dict[str, Axes] = sharing.seeds if sharing else dict(seeds or {})
        self.seeded = seeds is not None
        self.pins: list[tuple[Vector, Pin]] = []
        self.approximations: list[tuple[Vector, Pin]] = []
        self.renormalized: dict[int, tuple[Axes, ...]] = {}
        self.lines: dict[int, tuple[Vector, int, int]] = {}
        self.produced: list[Mark] = []
        self.consumed: list[Mark] = []
        self.constraints: list[Mark] = []
        self.layers: list[Layer] = []
        self.counts: dict[str, Vector] = {}
        self.node_counts: dict[str, Vector] = {}
        self.flows: list[tuple[Value, ...]] = []
        self.reads: dict[int, list[tuple[int, int, Vector]]] = {}
        self.options: dict[int, int] = {}
        self._made_by: dict[int, OpCall] = {}
        self._decisions: dict[int, dict[int, int]] = like._decisions if like else {}
        self._views: dict[int, View] = {}
        self._rules = rules
        self._choices = choices or {}
        self._approximate = approximate
        self._values: dict[int, Value] = {}

    def walk(self, tape: Tape, fallback: Rule) -> None:
        """Apply the rules to every call, and pin what leaves the network."""
        for ref in tape.model_inputs:
            self._values[ref.id] = Value(origin="the network's input")
        for call in tape.calls:
            self._apply(call, fallback)
            if call.index >= tape.compared:
                self.pin_inputs(call, "elements are selected by their values before, and nothing behind is traced")
            self.flows.append(tuple(self.value(out) for out in call.outs))
        for ref in tape.outputs:
            for labels in self.value(ref).axes.values():
                self.pins.append((labels, Pin("the channels are an output of the network")))

    def _apply(self, call: OpCall, fallback: Rule) -> None:
        for out in call.outs:
            self._values[out.id] = Value(static=self._all_static(call), param=self._param(call))
            self._made_by.setdefault(out.id, call)
        self._rules.get(call.name, fallback)(call, self)
        if self._choices.get(call.index, 0) and call.index not in self.options:
            self.pin_reaching(call, "a number of channels is fixed in the code here", in_code=True)

    def _all_static(self, call: OpCall) -> bool:
        return all(self.value(ref).static for ref in call.inputs)

    def _param(self, call: OpCall) -> str:
        return next((self.value(ref).param for ref in call.inputs if self.value(ref).param), "")

    # ---- reading and putting values -------------------------------------------------------------------------

    def value(self, ref: TensorRef) -> Value:
        """The value of a tensor; the model's own tensors get labels at their first use."""
        if ref.id not in self._values:
            if ref.name:
                self._values[ref.id] = Value(self._own_axes(ref), static=True, param=ref.name)
            else:
                self._values[ref.id] = Value(uniform=int(np.prod(ref.shape)) <= 1, static=True)
        return self._values[ref.id]

    def _own_axes(self, ref: TensorRef) -> Axes:
        if ref.name not in self.seeds and not self.seeded:
            self.seeds[ref.name] = {dim: self.store.fresh(size) for dim, size in enumerate(ref.shape) if size > 1}
        known = self.seeds.get(ref.name, {})
        return {dim: labels for dim, labels in known.items() if len(labels) > 1 or not self.seeded}

    def shape_before_view(self, ref: TensorRef) -> tuple[int, ...]:
        """Shape of the tensor that ``ref`` is a view of, its own if it is none."""
        maker = self._made_by.get(ref.id)
        return maker.inputs[0].shape if maker is not None and "view" in maker.name else ref.shape

    def axes(self, ref: TensorRef) -> Axes:
        """Label vectors of a tensor by dimension."""
        return self.value(ref).axes

    def put(
        self, ref: TensorRef, axes: Axes, *, uniform: bool = False, flat: Iterable[int] = (), origin: str = ""
    ) -> None:
        """Set an output's labels. A dimension of size 1, or without any label, carries none."""
        base = self._values[ref.id]
        kept = {dim: labels for dim, labels in axes.items() if len(labels) > 1 and labels.any()}
        self._values[ref.id] = Value(kept, uniform, frozenset(flat), base.static, base.param, origin or base.origin)

    # ---- facts: none are gathered in a walk that only checks ------------------------------------------------

    def unite(self, left: Vector, right: Vector, call: OpCall, origin: str = "a constant") -> None:
        """Equal positions are the same channel; a channel that meets a position without one is pinned."""
        if self.seeded:
            return
        self.store.unite(left, right)
        lone = np.concatenate([left[(right == 0) & (left != 0)], right[(left == 0) & (right != 0)]])
        if len(lone):
            self.pin(lone, call, f"the channels meet {origin}, whose positions stay", origin == PADDED)

    def tie_parts(self, call: OpCall, labels: Vector, num_parts: int, text: str) -> None:
        """Equal positions of the equal parts of a dimension go together; ``text`` says why."""
        grid = labels.reshape(num_parts, -1)
        self.unite(np.broadcast_to(grid[:1], grid.shape), grid, call)
        self.constrain(grid[0], call, text)

    def pin(self, labels: Vector, call: OpCall, reason: str, in_code: bool = False) -> None:
        """These channels may not be removed; ``in_code`` if only a number in Python code is in the way."""
        if not self.seeded and labels.any():
            self.pins.append((labels, Pin(reason, call.title, call.module, call.source, in_code)))

    def renormalize(self, labels: Vector, call: OpCall, reason: str) -> None:
        """The call takes statistics over these channels: what is left of them is another function of the rest.

        The masked reference then takes the statistics over the kept channels only, see ``renormalized``: for every
        such call the axes of its inputs.
        """
        if not self._approximate:
            self.pin(labels, call, reason)
        elif labels.any():
            self.approximations.append((labels, Pin(reason, call.title, call.module, call.source)))
            self.renormalized[call.index] = tuple(self.axes(ref) for ref in call.inputs)

    def pin_inputs(self, call: OpCall, reason: str) -> None:
        """Pin every channel that reaches the call."""
        for ref in call.inputs:
            for labels in self.axes(ref).values():
                self.pin(labels, call, reason)

    def pin_reaching(self, call: OpCall, reason: str, in_code: bool = False) -> None:
        """Pin the channels of the nearest tensors upstream that carry any: a matrix product may have ended them."""
        waiting, seen = [call], {call.index}
        while waiting:
            for ref in waiting.pop().inputs:
                for labels in self.axes(ref).values():
                    self.pin(labels, call, reason, in_code)
                maker = self._made_by.get(ref.id)
                if not self.axes(ref) and maker is not None and maker.index not in seen:
                    seen.add(maker.index)
                    waiting.append(maker)

    def pin_scope(self, calls: Sequence[OpCall], call: OpCall, level: int) -> None:
        """Pin what reaches the code around a call on a way the tape does not show, such as a width read from a shape.

        Level 0 is the module that called, 1 the module around it, and so on up to the whole network.
        """
        reason = "the code around this operation reads the channels in a way that cannot be followed"
        parts = call.module.split(".") if call.module else []
        prefix = ".".join(parts[: max(len(parts) - level, 0)])
        for other in calls[: call.index + 1]:
            if not prefix or f"{other.module}.".startswith(f"{prefix}."):
                for ref in other.inputs:
                    for labels in self.axes(ref).values():
                        self.pin(labels, call, reason)

    def pin_dims(self, call: OpCall, ref: TensorRef, dims: Sequence[int], reason: str) -> Axes:
        """Pin the channels along some dimensions of a tensor; returns the axes of the others."""
        axes = self.axes(ref)
        for dim in dims:
            if dim in axes:
                self.pin(axes[dim], call, reason)
        return {dim: labels for dim, labels in axes.items() if dim not in dims}

    def constrain(self, labels: Vector, call: OpCall, text: str) -> None:
        """Note, for people, what couples these channels."""
        self.constraints.append(Mark(labels, call, text))

    def produce(self, labels: Vector, call: OpCall) -> None:
        """These channels are made by filters of the call."""
        self.produced.append(Mark(labels, call))

    def count(self, call: OpCall, attribute: str, labels: Vector) -> None:
        """The calling module's attribute is the number of these channels; so is the node's argument in a program."""
        self.counts.setdefault(f"{call.module}.{attribute}" if call.module else attribute, labels)
        if call.node:
            self.node_counts[f"{call.node}:{attribute}"] = labels

    def consume(self, call: OpCall, position: int, dim: int, labels: Vector, weight: Vector | None) -> None:
        """The call mixes the channels of its ``position``-th input tensor; ``weight`` labels read them."""
        self.reads.setdefault(call.index, []).append((position, dim, labels))
        if weight is not None:
            self.consumed.append(Mark(weight, call))

    def choose(self, call: OpCall, num_options: int) -> int:
        """Which of several ways a call with a choice takes; ``num_options`` itself stands for pinning."""
        self.options[call.index] = num_options
        return min(self._choices.get(call.index, 0), num_options)

    def note_line(self, call: OpCall, labels: Vector, chosen: int) -> None:
        """Option ``chosen`` of a call's choice lets these channels shrink; if they end pinned, others may be free."""
        self.lines[call.index] = labels, chosen, self.options[call.index]

    def decide(self, call: OpCall, preferred: int, place: int = 0) -> int:
        """A decision that depends on sizes: the preferred one, or in a smaller model what the original's walk took."""
        return self._decisions.setdefault(call.index, {}).setdefault(place, preferred)

    def decided(self, call: OpCall) -> Mapping[int, int]:
        """What a call's decisions were, by place."""
        return self._decisions.get(call.index, {})

    # ---- memory that several tensors share ------------------------------------------------------------------

    def note_view(self, base: TensorRef, out: TensorRef, positions: Mapping[int, Vector]) -> None:
        """``out`` shows the given positions of ``base`` (all of them along dimensions not named)."""
        outer = self._views.get(base.id)
        if outer is not None:
            inner = {dim: line[positions.get(dim, slice(None))] for dim, line in outer.positions.items()}
            positions = {**positions, **inner}
            base = outer.base
        self._views[out.id] = View(base, positions)

    def keep_view(self, call: OpCall, target: TensorRef) -> None:
        """``target`` was written in place and has the channels that it had: so has the tensor that it is a part of."""
        if target.id in self._views:
            self._views[call.outs[0].id] = self._views[target.id]

    def write(self, call: OpCall, target: TensorRef, axes: Axes, origin: str) -> None:
        """``target`` was written in place and now carries ``axes``; so does the tensor that it is a part of."""
        out = call.outs[0]
        self.put(out, axes, origin=origin)
        view = self._views.get(target.id)
        if view is None:
            self.pin_inputs(call, "the tensor is written in place through a view")
            return
        self._views[out.id] = view
        old = self.value(view.base)
        new = dict(old.axes)
        whole = all(len(positions) == view.base.shape[dim] for dim, positions in view.positions.items())
        for dim, labels in axes.items():
            positions = view.positions.get(dim, np.arange(view.base.shape[dim]))
            line = vector(new, dim, view.base.shape[dim]).copy()
            if not (whole or old.uniform or line[positions].any()):
                self.pin(labels, call, f"the channels are written over a part of {old.origin}")
            self.store.unite(line[positions], labels)
            line[positions] = np.where(labels != 0, labels, line[positions])
            new[dim] = line
        self._values[view.base.id] = Value(new, old.uniform and not new, static=old.static and not axes, origin=origin)
