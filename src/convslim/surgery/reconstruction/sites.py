"""The layers of a recorded pass that can be refitted, and where their outputs go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convslim.channels.tape import OpCall, Tape, TensorRef
from convslim.surgery.reconstruction.rows import LINEAR, Kernel, as_matrix, as_weight


@dataclass(frozen=True)
class Site:
    """One layer's use.

    Attributes:
        index: Place on the tape.
        module: Dotted module name.
        weight: Name of the weight.
        bias: Name of the layer's own bias, or empty.
        mean: Name of the running mean that the BatchNorm behind subtracts, if nobody else reads the layer.
        kernel: The layer's geometry.
        in_dim, out_dim: Dimensions of the weight.
        features: The tensor it reads.
        output: The tensor it makes.
        norms: BatchNorm calls between the layer and the sum.
        addend: What is added to the output, behind its BatchNorm, and can be had when the layer runs; or None.
        arrival: Where the layer's error arrives: the sum, or without one what the BatchNorm gives.
    """

    index: int
    module: str
    weight: str
    bias: str
    mean: str
    kernel: Kernel
    in_dim: int
    out_dim: int
    features: TensorRef
    output: TensorRef
    norms: tuple[OpCall, ...]
    addend: TensorRef | None
    arrival: TensorRef


class Layers:
    """All uses of layers with weights on a tape.

    Attributes:
        sites: In order.
        left: Module and reason of those that cannot be refitted.
    """

    def __init__(self, tape: Tape) -> None:
        self._calls = tape.calls
        self._maker = {out.id: call for call in tape.calls for out in call.outs}
        self._readers: dict[int, list[OpCall]] = {}
        for call in tape.calls:
            for ref in call.inputs:
                self._readers.setdefault(ref.id, []).append(call)
        self._outputs = {ref.id for ref in tape.outputs}
        live = _leading_to_outputs(tape)
        found = [site for call in tape.calls if call.index in live and (site := self._site(call)) is not None]
        uses: dict[str, int] = {}
        for site in found:
            uses[site.weight] = uses.get(site.weight, 0) + 1
        self.sites = found
        self.shared = {weight for weight, count in uses.items() if count > 1}

    def _site(self, call: OpCall) -> Site | None:
        if call.name == "convolution":
            weight, features = call.inputs[1], call.inputs[0]
            kernel, dims = _geometry(call), ((0, 1) if call["transposed"] else (1, 0))
        elif call.name in ("addmm", "mm"):
            features, weight = call.inputs[-2], call.inputs[-1]
            maker = self._maker.get(weight.id)
            turned = maker is not None and maker.name == "t"
            weight = maker.inputs[0] if maker is not None and turned else weight
            kernel, dims = LINEAR, ((1, 0) if turned else (0, 1))
        else:
            return None
        if not weight.name or features.name:
            return None
        norms, addend, arrival = self._behind(call)
        return Site(
            index=call.index,
            module=call.module,
            weight=weight.name,
            bias=self._bias(call),
            mean=self._mean(norms),
            kernel=kernel,
            in_dim=dims[0],
            out_dim=dims[1],
            features=features,
            output=call.outs[0],
            norms=norms,
            addend=addend,
            arrival=arrival,
        )

    def _bias(self, call: OpCall) -> str:
        if call.name == "addmm":
            plain = len(call.inputs[0].shape) == 1 and call["beta"] == 1 and call["alpha"] == 1
            return call.inputs[0].name if plain else ""
        return call.inputs[2].name if call.name == "convolution" and call["bias"] is not None else ""

    def _mean(self, norms: Sequence[OpCall]) -> str:
        """The running mean of the first norm, if that norm is its only reader."""
        if not norms:
            return ""
        mean: TensorRef = norms[0]["running_mean"]
        return mean.name if len(self._readers[mean.id]) == 1 else ""

    def _behind(self, call: OpCall) -> tuple[tuple[OpCall, ...], TensorRef | None, TensorRef]:
        """Normalizations behind a call, what is then added, and the sum, if nothing else reads the values between."""
        norms: list[OpCall] = []
        ref = call.outs[0]
        while ref.id not in self._outputs:
            readers = [reader for reader in self._readers.get(ref.id, ()) if reader.outs]
            if len(readers) != 1:
                break
            reader = readers[0]
            if _is_fixed_norm(reader) and reader.inputs[0].id == ref.id:
                norms.append(reader)
                ref = reader.outs[0]
            elif reader.name in ("view", "_unsafe_view") and reader.outs[0].shape[-1] == call.outs[0].shape[-1]:
                ref = reader.outs[0]
            elif reader.name == "add" and reader.bound.get("alpha", 1) == 1 and len(reader.inputs) == 2:
                others = [other for other in reader.inputs if other.id != ref.id]
                known = len(others) == 1 and self._is_known(others[0], call)
                addend = others[0] if known and others[0].shape == ref.shape else None
                return tuple(norms), addend, reader.outs[0]
            else:
                break
        return tuple(norms), None, ref

    def _is_known(self, ref: TensorRef, call: OpCall) -> bool:
        """Whether a tensor can be had when a call runs: nothing in between has weights to fit, or writes in place."""
        between = self._calls[call.index + 1 : self._index(ref) + 1]
        return not any(_has_weights(other) or other.func._schema.is_mutable for other in between)

    def _index(self, ref: TensorRef) -> int:
        """When a tensor is made; parameters and inputs are there from the start."""
        maker = self._maker.get(ref.id)
        return maker.index if maker is not None else -1


def _leading_to_outputs(tape: Tape) -> set[int]:
    """Places of the operations that have a part in the outputs."""
    needed, live = {ref.id for ref in tape.outputs}, set()
    for call in reversed(tape.calls):
        if call.func._schema.is_mutable or any(out.id in needed for out in call.outs):
            live.add(call.index)
            needed |= {ref.id for ref in call.inputs}
    return live


def _has_weights(call: OpCall) -> bool:
    return call.name in ("convolution", "addmm", "mm")


def _is_fixed_norm(call: OpCall) -> bool:
    """A BatchNorm with running statistics."""
    if "batch_norm" not in call.name:
        return False
    mean, training = call.bound.get("running_mean"), call.bound.get("training", False)
    return isinstance(mean, TensorRef) and bool(mean.name) and not training


def _geometry(call: OpCall) -> Kernel:
    size = call.inputs[1].shape[2:]

    def each(name: str) -> tuple[int, ...]:
        values = tuple(call[name])
        return values * len(size) if len(values) == 1 else values

    return Kernel(
        transposed=bool(call["transposed"]),
        size=tuple(size),
        stride=each("stride"),
        padding=each("padding"),
        dilation=each("dilation"),
        output_padding=each("output_padding"),
        groups=int(call["groups"]),
    )


def matrix_of(weight: Tensor, site: Site) -> Tensor:
    """A layer's weight as ``(groups, K, M)``; a plain matrix product's is ``(K, M)`` to begin with."""
    return as_matrix(weight if site.kernel.size or site.out_dim == 0 else weight.t(), site.kernel)


@torch.no_grad()
def write_(weight: Tensor, matrix: Tensor, site: Site) -> None:
    """Put what :func:`matrix_of` took apart back into the weight."""
    if site.kernel.size or site.out_dim == 0:
        weight.copy_(as_weight(matrix, site.kernel, weight.shape))
    else:
        weight.copy_(as_weight(matrix, site.kernel, weight.t().shape).t())


def scale_behind(site: Site, tensors: Mapping[str, Tensor]) -> Tensor:
    """What the BatchNorms behind a layer multiply each output with, ``(C_out,)`` float64."""
    kernel, shape = site.kernel, tensors[site.weight].shape
    num = shape[site.out_dim] * (kernel.groups if kernel.transposed else 1)
    scale = torch.ones(num, dtype=torch.float64, device=tensors[site.weight].device)
    for norm in site.norms:
        scale = scale * (tensors[norm["running_var"].name].double() + norm["eps"]).rsqrt()
        if norm["weight"] is not None:
            scale = scale * tensors[norm["weight"].name].detach()
    return scale
