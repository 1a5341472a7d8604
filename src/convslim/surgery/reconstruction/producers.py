"""New filters for the channels that stay, so that the layer behind can follow the original.

A reader that is refitted can only combine the channels that are left. Here these channels change too: with the reader
fixed, its error is a least-squares problem in the producer's weights, linear where the activation between keeps its
state. One step of Gauss-Newton with the Gram matrix of the producer's inputs as curvature, its length from the error
itself, and the reader is fitted again. A step after which the held-out error is not lower is taken back.

References:
    Martens, Grosse, *Optimizing neural networks with Kronecker-factored approximate curvature*, ICML 2015.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convslim.channels.tape import Tape
from convslim.surgery.plan import PruningPlan
from convslim.surgery.reconstruction.moments import Moments
from convslim.surgery.reconstruction.pair import Pair
from convslim.surgery.reconstruction.refit import Fitted, Refit, held_out
from convslim.surgery.reconstruction.replay import Replay
from convslim.surgery.reconstruction.sites import Layers, Site, matrix_of, write_
from convslim.surgery.reconstruction.solve import solve_ridge

TURNS = 2
"""Steps of a producer, each with a refit of its reader."""

STRENGTH = 1e-3
"""λ of the step, as a fraction of the mean variance of the producer's inputs."""


def producers(layers: Layers, tape: Tape, plan: PruningPlan) -> dict[int, Site]:
    """The layer that makes what a layer reads, by the reader's place: all of it, read by nobody else, and cut."""
    sites = {site.index: site for site in layers.sites if site.weight not in layers.shared}
    found = {}
    for site in sites.values():
        if site.out_dim in plan.slices.get(site.weight, {}):
            reader = _only_reader(site, sites, tape)
            if reader is not None:
                found[reader] = site
    return found


def _only_reader(producer: Site, sites: Mapping[int, Site], tape: Tape) -> int | None:
    """The one layer behind elementwise operations and poolings, if it mixes all channels."""
    own = {producer.output.id}
    live = _live(tape)
    reader = None
    for call in tape.calls[producer.index + 1 :]:
        reads = {ref.id for ref in call.inputs if ref.id in live}
        if not reads & own:
            if reader is None and call.func._schema.is_mutable:
                return None  # would run twice
        elif reader is not None or not reads <= own:
            return None
        elif call.index in sites:
            reader = call.index
        else:
            own |= {out.id for out in call.outs}
    if reader is None or sites[reader].kernel.groups > 1 or own & {ref.id for ref in tape.outputs}:
        return None
    return reader


def _live(tape: Tape) -> set[int]:
    """Tensors that the model's inputs have a part in."""
    live = {ref.id for ref in tape.model_inputs}
    for call in tape.calls:
        if any(ref.id in live for ref in call.inputs):
            live |= {out.id for out in call.outs}
    return live


@dataclass(frozen=True, eq=False)
class Stand:
    """The smaller network before a producer.

    Attributes:
        replays: One for every batch.
        rows: Moments of what the producer reads.
    """

    replays: Sequence[Replay]
    rows: Moments


def together_(
    refit: Refit, found: Fitted, producer: Site, stand: Stand, pair: Pair, tensors: Mapping[str, Tensor]
) -> Fitted:
    """Change a fitted layer's producer and the layer in turns, while the held-out error falls."""
    names = [name for site in (producer, refit.site) for name in (site.weight, site.mean, site.bias) if name]
    between = Between(producer, refit, stand, [~held_out(*span) for span in pair.spans], tensors)
    for _ in range(TURNS):
        before = {name: tensors[name].detach().clone() for name in names}
        errors = refit.errors()
        step = between.step()
        between.go_(step, 1.0)
        pair.return_(stand.replays, tensors)
        length = _best_length(errors, refit.errors())
        between.go_(step, length - 1.0)
        pair.return_(stand.replays, tensors)
        again = refit.run_()
        if not refit.error(again) < refit.error(found):
            for name, tensor in before.items():
                tensors[name].copy_(tensor)
            pair.return_(stand.replays, tensors)
            break
        found = replace(again, fit=replace(again.fit, held_before=found.fit.held_before))
    return found


def _best_length(before: Tensor, after: Tensor) -> float:
    """The length at which the error would be least if what a whole step does grew in proportion."""
    gone = before - after
    return float((gone * before).sum()) / max(float(gone.square().sum()), 1e-30)


@dataclass(frozen=True, eq=False)
class Step:
    """Change of a producer's weights, ``(G, K, M)``, and of its constants, ``(C,)``."""

    matrix: Tensor
    constant: Tensor


class Between:
    """A producer, its reader, and what is needed to run from one to the other.

    Args:
        producer, refit: The two layers.
        stand: The smaller network before the producer.
        fitted: For every batch which images may be looked at, ``(N,)``.
        tensors: Of the smaller network.
    """

    def __init__(
        self, producer: Site, refit: Refit, stand: Stand, fitted: Sequence[Tensor], tensors: Mapping[str, Tensor]
    ) -> None:
        self.producer, self.reader, self.tensors = producer, refit.site, tensors
        self._scale, self._stand, self._fitted = refit.scale, stand, fitted
        self._wanted = refit.wanted()
        bends = [self._bend(*each) for each in zip(stand.replays, fitted, strict=True)]
        self._curvature = torch.stack(bends).sum(0)

    def step(self) -> Step:
        """One step of Gauss-Newton."""
        batches = zip(self._stand.replays, self._wanted, self._fitted, strict=True)
        gradients, constants = zip(*(self._pull(*each) for each in batches), strict=True)
        gradient = torch.stack(gradients).sum(0)
        bend = self._curvature.reshape(len(gradient), 1, -1)
        bend = bend.clamp_min(1e-6 * float(bend.max()) + 1e-30)
        moves = bool(self.producer.mean or self.producer.bias)
        about = self._stand.rows.centered() if moves else self._stand.rows.raw()
        pull = torch.stack(constants).sum(0).reshape(bend.shape) if moves else torch.zeros_like(bend)
        change = solve_ridge(about.xx, gradient - about.x[:, :, None] * pull, STRENGTH) / bend
        shift = (pull / bend - about.x[:, None] @ change) if moves else torch.zeros_like(bend)
        return Step(change, shift.reshape(-1))

    def go_(self, step: Step, length: float) -> None:
        """Add a multiple of a step to the producer's weights and constants."""
        weight = self.tensors[self.producer.weight]
        write_(weight, matrix_of(weight.detach(), self.producer) + length * step.matrix, self.producer)
        if self.producer.mean:
            self.tensors[self.producer.mean].sub_(length * step.constant)
        elif self.producer.bias:
            self.tensors[self.producer.bias].add_(length * step.constant)

    def _pull(self, before: Replay, wanted: Tensor, fitted: Tensor) -> tuple[Tensor, Tensor]:
        """Of one batch: how the squared error falls with every weight and every constant."""
        site = self.producer
        weight, output, replay = self._run(before)
        features = before.value(site.features)
        with torch.enable_grad():
            result = replay.result(self.reader.index)
        seed = (wanted - result.detach()).mul_(self._by_output(self._scale.square(), result, fitted))
        (fall,) = torch.autograd.grad(result, output, seed, retain_graph=True)
        if site.kernel.size:
            (by_weight,) = torch.autograd.grad(output, weight, fall)
            gradient = matrix_of(by_weight.double(), site)
        else:
            gradient = (features.T @ fall).double()[None]
        return gradient, _by_channel(fall, site)

    def _bend(self, before: Replay, fitted: Tensor) -> Tensor:
        """Of one batch: the squared error's curvature by output of the producer, by random signs sent back."""
        _, output, replay = self._run(before)
        read = replay.value(self.reader.features)
        matrix = matrix_of(self.tensors[self.reader.weight].detach(), self.reader)[0]
        taps = math.prod(self.reader.kernel.size)
        reach = (matrix * self._scale.to(matrix)).square().sum(1).reshape(-1, taps).sum(1).sqrt()
        (noise,) = torch.autograd.grad(read, output, _signs(read, len(fitted)) * self._by_output(reach, read, fitted))
        return _by_channel(noise.square_(), self.producer)

    def _run(self, before: Replay) -> tuple[Tensor, Tensor, Replay]:
        """The producer's weight, what it makes, and the replay before the reader, connected for gradients."""
        site = self.producer
        weight = self.tensors[site.weight].detach().requires_grad_()
        replay = before.fork({**self.tensors, site.weight: weight})
        with torch.enable_grad():
            replay.advance(site.index + 1)
            output = replay.value(site.output)
            if not site.kernel.size:
                output = output.detach().requires_grad_()  # its weight was transposed earlier
            replay.put(site.output, output.clone())
            replay.advance(self.reader.index)
        return weight, output, replay

    def _by_output(self, factors: Tensor, like: Tensor, fitted: Tensor) -> Tensor:
        """Factors by channel of the reader's inputs or outputs; zero for images not looked at."""
        images = fitted.repeat_interleave(len(like) // len(fitted)).to(like)
        return torch.outer(images, factors.to(like)).reshape(*(len(images), -1), *(1,) * len(self.reader.kernel.size))


def _by_channel(values: Tensor, site: Site) -> Tensor:
    channel = 1 if site.kernel.size else values.dim() - 1
    return values.sum([dim for dim in range(values.dim()) if dim != channel]).double()


def _signs(like: Tensor, images: int) -> Tensor:
    """Random signs, the same for every image, so that nothing depends on the batches."""
    one = like.reshape(images, -1)[:1]
    signs = torch.randint(0, 2, one.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return signs.to(like).expand(images, -1).reshape(like.shape)
