"""Step `reconstruct`: between a cut and what follows, once, twice, and where there is nothing to do."""

from pathlib import Path

import pytest

from convslim.errors import RecipeError
from convslim.pipeline import parse_recipe, run

TRAIN = {"train": {"epochs": 1, "batch_size": 32, "lr": 0.1, "steps_per_epoch": 30}}
PRUNE = {"prune": {"criterion": "reconstruction", "allocation": "reconstruction", "budget": {"macs": 0.6}}}
RECONSTRUCT = {"reconstruct": {"num_images": 200, "compared": 100}}


def recipe(*steps):
    return parse_recipe(
        {
            "name": "short",
            "threads": 1,
            "model": {"spec": "digits_cnn"},
            "data": {"spec": "digits"},
            "evaluation": {"limit": 128},
            "steps": list(steps),
        }
    )


def test_a_cut_network_comes_closer_to_the_uncut_one(tmp_path: Path):
    record = run(recipe(TRAIN, PRUNE, RECONSTRUCT), tmp_path / "run", quiet=True)
    cut, done = record.steps[1:]
    details = done.details
    assert details["num_images"] == 200
    assert details["parity"]["num_images"] == 100
    assert details["parity"]["kl"] < 0.5 * details["parity_before"]["kl"]
    assert (done.macs, done.params) == (cut.macs, cut.params)
    assert done.correct is not None
    assert cut.correct is not None
    assert done.correct >= cut.correct
    assert details["layers"]
    assert not details["left"]


def test_two_cuts_are_reconstructed_against_the_network_before_the_first(tmp_path: Path):
    second = {"prune": {"criterion": "l1", "budget": {"macs": 0.8}, "round_to": 1}}
    record = run(recipe(TRAIN, PRUNE, RECONSTRUCT, second, RECONSTRUCT), tmp_path / "run", quiet=True)
    first, last = record.steps[2].details, record.steps[4].details
    assert last["parity"]["kl"] < last["parity_before"]["kl"]
    assert first["parity"]["kl"] < last["parity"]["kl"]


def test_a_resumed_run_finds_the_uncut_network_again(tmp_path: Path):
    whole = run(recipe(TRAIN, PRUNE, RECONSTRUCT), tmp_path / "whole", quiet=True)
    out = tmp_path / "run"

    def stop(number: int, step: object) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe(TRAIN, PRUNE, RECONSTRUCT), out, quiet=True, on_step=stop)
    resumed = run(recipe(TRAIN, PRUNE, RECONSTRUCT), out, resume=True, quiet=True)
    assert resumed.steps[2].details == whole.steps[2].details


def test_without_a_cut_there_is_nothing_to_reconstruct(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"Step 2 \(reconstruct\): There is nothing to reconstruct"):
        run(recipe(TRAIN, RECONSTRUCT), tmp_path / "run", quiet=True)
