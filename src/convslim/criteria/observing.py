"""One pass over the calibration images, in which a criterion looks at every group's feature maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from convslim.channels.graph import ChannelGraph
from convslim.channels.program.assemble import assemble, is_program
from convslim.channels.tape import ExampleInput, named_tensors
from convslim.channels.trace import trace
from convslim.criteria.activations import ActivationCriterion, Mergeable
from convslim.criteria.places import Place, places
from convslim.errors import DataError, ModelError
from convslim.surgery.masking import Watching, run_under
from convslim.surgery.reconstruction.pair import num_images

Seen = dict[tuple[str, int], Mergeable]
Where = Mapping[str, Sequence[Place]]


def observe(
    graph: ChannelGraph, model: nn.Module, criterion: ActivationCriterion, batches: Iterable[ExampleInput]
) -> dict[str, list[Any]]:
    """Merged statistics of all batches by group name, one for each place of the group.

    Every batch passes once, in evaluation mode; the model is left as found. Nothing is held but one statistic for every
    place, and the model's own tensors of one batch.

    Raises:
        DataError: If there is no batch.
        ModelError: If the model fails on a batch, or couples its channels otherwise on it.
    """
    if graph.program is not None and not is_program(model):
        model = assemble(graph.program, named_tensors(model))
    total: Seen | None = None
    where = places(graph)
    for number, batch in enumerate(batches):
        try:
            found = _look(graph, where, model, criterion, batch)
            if found is None:  # a batch of another size may run other operations
                graph = _traced(graph, model, batch)
                where = places(graph)
                found = _look(graph, where, model, criterion, batch)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"{type(model).__name__} fails on calibration batch {number}: {type(error).__name__}: {error}. "
                "A batch is a pair (inputs, targets) with inputs as the network takes them."
            ) from error
        if found is None or (total is not None and found.keys() != total.keys()):
            raise _other_model(model)
        total = {key: total[key].merge(found[key]) for key in found} if total is not None else found
    if total is None:
        raise DataError(
            f"Criterion {criterion.name!r} looks at feature maps, and no batch was given; "
            "pass batches=[(inputs, targets), ...], a few hundred training samples in all."
        )
    by_group: dict[str, list[Any]] = {}
    for (name, _), statistic in total.items():
        by_group.setdefault(name, []).append(statistic)
    return by_group


def _look(
    graph: ChannelGraph, where: Where, model: nn.Module, criterion: ActivationCriterion, batch: ExampleInput
) -> Seen | None:
    """Statistics of one batch, or None if the model runs other operations than at its trace."""
    looking = _Looking(graph, where, criterion, num_images(batch))
    try:
        run_under(looking, model, batch)
    except _OtherOperations:
        return None
    return looking.found if looking.complete else None


def _traced(graph: ChannelGraph, model: nn.Module, batch: ExampleInput) -> ChannelGraph:
    fresh = trace(model, batch, ways=("class",))
    if fresh.structure != graph.structure:
        raise _other_model(model)
    return fresh


def _other_model(model: nn.Module) -> ModelError:
    return ModelError(
        f"{type(model).__name__} couples its channels otherwise on the calibration batches than in its graph. "
        "Trace it with an example input like them."
    )


class _OtherOperations(BaseException):
    """Ends a run; not an ``Exception``, so that no code of the model takes it for its own."""


class _Looking(Watching):
    """Shows the criterion the maps at every place."""

    def __init__(self, graph: ChannelGraph, where: Where, criterion: ActivationCriterion, num_images: int) -> None:
        assert graph.evidence is not None, "a traced graph has evidence"
        super().__init__(self._see_results, graph.evidence.tape.selection)
        self.found: Seen = {}
        self._calls = graph.evidence.tape.calls
        self._criterion = criterion
        self._num_images = num_images
        self._places: dict[tuple[int, bool], list[tuple[tuple[str, int], Place]]] = {}
        for name, group in where.items():
            for number, place in enumerate(group):
                self._places.setdefault((place.call, place.result), []).append(((name, number), place))

    @property
    def complete(self) -> bool:
        """True if every place was met."""
        return len(self.found) == sum(len(entries) for entries in self._places.values())

    def prepare(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Look at what the operation reads."""
        if self.index >= len(self._calls) or func is not self._calls[self.index].func:
            raise _OtherOperations
        if (self.index, False) in self._places:
            self._show(False, [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)])
        return args, kwargs

    def _see_results(self, index: int, results: list[Tensor]) -> None:
        self._show(True, results)

    def _show(self, result: bool, tensors: list[Tensor]) -> None:
        for key, place in self._places.get((self.index, result), ()):
            tensor = tensors[place.position]
            if tensor.shape[place.dim] != place.size:  # images were counted among the channels
                raise _OtherOperations
            self.found[key] = self._criterion.look(place.maps(tensor, self._num_images))
