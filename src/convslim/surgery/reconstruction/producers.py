"""New filters for the channels that stay, so that the layer behind can follow the original.

A reader that is refitted can only combine the channels that are left. Here these channels change too: with the reader
fixed, its error is a least-squares problem in the producer's weights, linear where the activation between keeps its
state. One step of Gauss-Newton with the Gram matrix of the producer's inputs as curvature, its length from the error
itself, and the reader is fitted again. A step after which the held-out error is not lower is taken back.

References:
    Martens, Grosse, *Optimizing neural networks with Kronecker-factored approximate curvature*, ICML 2015.
"""

from __future__ import annotations

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
    wanted = refit.wanted()
    names = [name for site in (producer, refit.site) for name in (site.weight, site.mean, site.bias) if name]
    between = Between(producer, refit.site, stand.rows, stand.replays, tensors, refit.scale)
    fitted = [~held_out(*span) for span in pair.spans]
    for _ in range(TURNS):
        before = {name: tensors[name].detach().clone() for name in names}
        between.step_(wanted, fitted)
        pair.return_(stand.replays, tensors)
        again = refit.run_()
        if not refit.error(again) < refit.error(found):
            for name, tensor in before.items():
                tensors[name].copy_(tensor)
            pair.return_(stand.replays, tensors)
            break
        found = replace(again, fit=replace(again.fit, held_before=found.fit.held_before))
    return found


@dataclass(frozen=True, eq=False)
class Between:
    """A producer, its reader, and what is needed to run from one to the other.

    Attributes:
        producer, reader: The layers.
        moments: Of the producer's inputs.
        before: A replay for every batch that stands before the producer.
        tensors: Of the smaller network.
        scale: What the reader's outputs are multiplied with behind it, ``(C_out,)``.
    """

    producer: Site
    reader: Site
    moments: Moments
    before: Sequence[Replay]
    tensors: Mapping[str, Tensor]
    scale: Tensor

    def step_(self, wanted: Sequence[Tensor], fitted: Sequence[Tensor]) -> None:
        """Change the producer's weights once.

        Args:
            wanted: For every batch what the reader should give, before its bias and constants.
            fitted: For every batch which images may be looked at, ``(N,)``.
        """
        site = self.producer
        weight = self.tensors[site.weight]
        start = weight.detach().clone()
        sums = [self._sums(*each, start) for each in zip(self.before, wanted, fitted, strict=True)]
        gradient, constant, curvature = (torch.stack(part).sum(0) for part in list(zip(*sums, strict=True))[:3])
        errors = [each[3] for each in sums]
        change, shift = self._direction(gradient, constant, curvature)
        self._shift_(matrix_of(start, site) + change, shift)
        # The length at which the error would be least if what the step did grew in proportion.
        along = square = 0.0
        for batch, old in zip(zip(self.before, wanted, fitted, strict=True), errors, strict=True):
            gone = old - self._errors(*batch)
            along += float((gone * old).sum(dtype=torch.float64))
            square += float(gone.square().sum(dtype=torch.float64))
        length = along / max(square, 1e-30)
        self._shift_(matrix_of(start, site) + length * change, (length - 1) * shift)

    def _sums(self, before: Replay, wanted: Tensor, fitted: Tensor, start: Tensor) -> tuple[Tensor, ...]:
        """Of one batch: gradients by weight and constant, curvature by output, and the errors."""
        site = self.producer
        with torch.enable_grad():
            weight = start.clone().requires_grad_()
            replay = before.fork({**self.tensors, site.weight: weight})
            features = replay.value(site.features)
            replay.advance(site.index + 1)
            output = replay.value(site.output)
            if not site.kernel.size:
                output = output.detach().requires_grad_()  # its weight was transposed earlier
            replay.put(site.output, output.clone())
            error = self._error(replay, wanted, fitted)
        noise = self._seen(_signs(error, len(fitted)), fitted)
        (noise,) = torch.autograd.grad(error, output, noise, retain_graph=True)
        (fall,) = torch.autograd.grad(error, output, -error.detach(), retain_graph=True)
        if site.kernel.size:
            (by_weight,) = torch.autograd.grad(output, weight, fall)
            gradient = matrix_of(by_weight.double(), site)
        else:
            gradient = (features.T @ fall).double()[None]
        rows = [part.movedim(1 if site.kernel.size else -1, 0).flatten(1).double() for part in (fall, noise)]
        return gradient, rows[0].sum(1), rows[1].square().sum(1), error.detach()

    def _errors(self, before: Replay, wanted: Tensor, fitted: Tensor) -> Tensor:
        return self._error(before.fork(self.tensors), wanted, fitted)

    def _error(self, replay: Replay, wanted: Tensor, fitted: Tensor) -> Tensor:
        """What is missing in the reader's outputs, in the unit behind it; zero for images not looked at."""
        replay.advance(self.reader.index)
        missing = wanted - replay.result(self.reader.index)
        dims = (-1, *(1,) * len(self.reader.kernel.size))
        return self._seen(missing * self.scale.to(missing).reshape(dims), fitted)

    def _seen(self, values: Tensor, fitted: Tensor) -> Tensor:
        by_image = values.reshape(len(fitted), -1)
        return (by_image * fitted[:, None].to(by_image)).reshape(values.shape)

    def _direction(self, gradient: Tensor, constant: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor]:
        """Change of weights ``(G, K, M)`` and of the constant ``(C,)``."""
        groups = len(gradient)
        bend = curvature.reshape(groups, 1, -1)
        bend = bend.clamp_min(1e-6 * float(bend.max()) + 1e-30)
        moves = bool(self.producer.mean or self.producer.bias)
        about = self.moments.centered() if moves else self.moments.raw()
        pull = constant.reshape(groups, 1, -1) if moves else torch.zeros_like(bend)
        change = solve_ridge(about.xx, gradient - about.x[:, :, None] * pull, STRENGTH) / bend
        shift = (pull / bend - about.x[:, None] @ change) if moves else torch.zeros_like(bend)
        return change, shift.reshape(-1)

    def _shift_(self, matrix: Tensor, constant: Tensor) -> None:
        """Write the producer's weights, and move its constant."""
        write_(self.tensors[self.producer.weight], matrix, self.producer)
        if self.producer.mean:
            self.tensors[self.producer.mean].sub_(constant)
        elif self.producer.bias:
            self.tensors[self.producer.bias].add_(constant)


def _signs(like: Tensor, images: int) -> Tensor:
    """Random signs, the same for every image, so that nothing depends on the batches."""
    one = like.reshape(images, -1)[:1]
    signs = torch.randint(0, 2, one.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return signs.to(like).expand(images, -1).reshape(like.shape)
