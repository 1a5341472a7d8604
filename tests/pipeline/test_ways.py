"""Which way a run's cuts take: the graph where it frees more, and never back and forth."""

from types import SimpleNamespace

import pytest
from tests.channels.numbers_in_code import split
from tests.channels.sketch import X

import convslim
from convslim.pipeline.steps.prune import PruneStep, traced


@pytest.mark.parametrize(("ways", "way"), [(("class", "graph"), "graph"), (("class",), "class"), (("graph",), "graph")])
def test_the_step_says_what_may_be_cut(ways, way):
    state = SimpleNamespace(model=split().eval(), plan=None)
    config = PruneStep(budget={"macs": 0.5}, ways=ways)
    assert traced(config, state.model, state, SimpleNamespace(example_input=X)).way == way


def test_what_was_cut_in_its_class_stays_in_its_class():
    model = split().eval()
    plan = convslim.make_plan(convslim.trace(model, X, ways=("class",)), {"b": [0, 1, 2]})
    state = SimpleNamespace(model=convslim.remove(model, plan, X), plan=plan)
    graph = traced(PruneStep(budget={"macs": 0.5}), state.model, state, SimpleNamespace(example_input=X))
    assert graph.way == "class"
    assert plan.then(convslim.make_plan(graph, {"b": [0, 2]})).kept["b"] == (0, 2)


def test_unknown_ways_are_refused():
    for wrong in (["klass"], []):
        with pytest.raises(ValueError, match="ways"):
            PruneStep(budget={"macs": 0.5}, ways=wrong)
