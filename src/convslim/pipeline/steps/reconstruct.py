"""Step `reconstruct`: new weights, by least squares, for the layers that read removed channels."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import Field

from convslim.errors import RecipeError
from convslim.measure.parity import parity
from convslim.pipeline.state import Context, Outcome, State, StepConfig
from convslim.sparsity import relations_in
from convslim.surgery.reconstruction import Which, reconstruct_
from convslim.train.devices import on_device


class ReconstructStep(StepConfig):
    """How many training images to fit on, without their labels; `per_image` output positions are taken of each.

    `which`: `all` refits every layer from the first reader of removed channels on, `readers` the readers only. The
    parity in the record is that on `compared` further images.
    """

    num_images: int = Field(default=2000, ge=2)
    batch_size: int = Field(default=100, ge=1)
    per_image: int = Field(default=16, ge=1)
    which: Which = "all"
    compared: int = Field(default=500, ge=1)
    seed: int = Field(default=0, ge=0)


def run_reconstruct(config: ReconstructStep, state: State, context: Context) -> Outcome:
    """Let the cut network follow the uncut one, layer by layer."""
    if state.plan is None or state.uncut is None:
        raise RecipeError(
            "There is nothing to reconstruct: no step before this one removes channels. Put prune before."
        )
    if relations_in(state.uncut) is not None:
        raise RecipeError(
            "Networks cannot be reconstructed whose relation modules were cut with them. Cut once by 'gfr', without "
            "keep_gfr, or leave reconstruct out."
        )
    small, uncut = on_device(state.model), on_device(state.uncut)
    device = next(small.parameters()).device
    split = context.source.train
    images = split.batches(config.batch_size, seed=config.seed, limit=config.num_images + config.compared)
    batches = [inputs.to(device) for inputs, _ in images]
    num_fitted = max(1, len(batches) * config.num_images // (config.num_images + config.compared))
    fitted, compared = batches[:num_fitted], batches[num_fitted:] or batches[-1:]
    before = parity(uncut, small, compared)
    done = reconstruct_(small, uncut, state.plan, fitted, which=config.which, per_image=config.per_image)
    details = {
        "layers": [asdict(layer) for layer in done.layers],
        "left": [list(pair) for pair in done.left],
        "num_images": done.num_images,
        "parity_before": asdict(before),
        "parity": asdict(parity(uncut, small, compared)),
    }
    return Outcome(model=small.cpu(), details=details)
