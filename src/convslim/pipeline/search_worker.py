"""A process that evaluates candidates beside a run whose step `search` is at work."""

from __future__ import annotations

import json
from pathlib import Path

from convslim.errors import ArtifactError
from convslim.pipeline.environment import expand
from convslim.pipeline.folder import RECIPE, RunFolder
from convslim.pipeline.recipe import Recipe, parse_recipe
from convslim.pipeline.run import before_step
from convslim.pipeline.steps.search import SearchStep, watched
from convslim.pipeline.steps.search_setup import RUN, set_up
from convslim.search.result import SearchResult
from convslim.search.storage import open_storage, shown
from convslim.search.study import find_study
from convslim.train.devices import threads


def work_on(storage: str, study: str, run: Path | None = None, *, quiet: bool = False) -> SearchResult | None:
    """Take part in a search until it is over.

    Args:
        storage: As in the step's configuration, `${NAME}` included, or as its record tells it.
        study: Name of the study.
        run: Folder of the run, where this machine sees it at another place than the study says.
        quiet: Draw no progress bar.

    Returns:
        What the search found; None where the run was over before this process could read it.

    Raises:
        ArtifactError: There is no such storage, study or run, or one is damaged.
        RecipeError: A variable in `storage` is not set.
    """
    place = expand(storage, "--storage")
    noted = find_study(open_storage(place, make=False), study, shown(place)).user_attrs.get(RUN)
    if noted is None:
        raise ArtifactError(
            f"The study {study!r} in {shown(place)} was not made by a run, so there is no network to evaluate."
        )
    folder, number = run or Path(noted["folder"]), int(noted["step"])
    recipe = _recipe(folder)
    step = recipe.steps[number - 1]
    if not isinstance(step.config, SearchStep):
        raise ArtifactError(f"Step {number} of the run in {folder} is {step.kind}, not search. Give another --run.")
    config = step.config.model_copy(update={"storage": storage, "study": study})
    with threads(recipe.threads):
        state, context = before_step(recipe, folder, number, quiet=quiet)
        try:
            search = set_up(config, state, context).search
            with watched(search.space, None, quiet=quiet) as watch:
                return search.work(watch)
        except ArtifactError:
            if RunFolder(folder).finished(number, step.kind).exists():
                return None  # the storage went with the step's folder
            raise


def _recipe(folder: Path) -> Recipe:
    try:
        data = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{folder} holds no run: {error}. Give the folder as this machine sees it with --run."
        ) from error
    return parse_recipe(data, name=str(folder / RECIPE))
