"""Options of step `sparsify` that do not go together, and a wished sparsity in a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from convslim.pipeline import parse_recipe, run
from convslim.pipeline.steps.sparsify import SparsifyStep


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"aim": {"share": 0.5}}, "aim needs method: proximal"),
        ({"aim": {"share": 0.95}, "method": "proximal"}, "what the layers can lose"),
        ({"ramp_epochs": 2}, "ramp_epochs belongs to ramp"),
        ({"penalty": "l2"}, "l_half"),
        ({"epsilon": 0}, "greater than 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], reason: str):
    with pytest.raises(ValidationError, match=reason):
        SparsifyStep(epochs=1, **options)


def test_old_recipes_mean_what_they_meant():
    step = SparsifyStep(epochs=1)
    assert (step.penalty, step.method, step.ramp, step.aim, step.gates) == ("l1", "subgradient", "constant", None, ())


def test_a_wished_sparsity_is_in_the_record(tmp_path: Path):
    training = {"epochs": 4, "batch_size": 64, "lr": 0.05, "evaluate_every": 9}
    step = {**training, "strength": 1e-3, "method": "proximal", "penalty": "l_half", "aim": {"share": 0.4}}
    head = {"name": "aim", "threads": 1, "model": {"spec": "digits_cnn"}, "data": {"spec": "digits"}}
    recipe = parse_recipe({**head, "evaluation": {"limit": 64}, "steps": [{"sparsify": step}]})
    run(recipe, tmp_path, quiet=True)
    details = json.loads((tmp_path / "record.json").read_text())["steps"][-1]["details"]
    assert details["scales_below_0.01"] == pytest.approx(0.4 * details["penalized_scales"], rel=0.1)
    facts = details["epochs"][-1]["facts"]
    assert facts["scales"] == details["penalized_scales"]
    assert facts["forecast_below"] == pytest.approx(facts["scales_below"], rel=0.1)
