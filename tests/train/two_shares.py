"""Run by torchrun in `test_synchronized.py`, and imported there: networks on shares of one batch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, distributed, nn
from torch.utils.checkpoint import checkpoint

from convslim.bfloat16 import autocast
from convslim.channels.program.assemble import assemble
from convslim.channels.program.export import export_program
from convslim.train.synchronized import synchronized

IMAGES = 9


class Case(NamedTuple):
    """A network, one image's shape, and how many of the images the first process has."""

    network: Callable[[], nn.Module]
    shape: tuple[int, ...] = (6, 5, 5)
    first: int = 5
    offset: float = 0.5
    tolerance: float = 1e-5
    bf16: bool = False
    dtype: torch.dtype = torch.float32
    channels_last: bool = False


class Standardized(nn.Conv2d):
    """A convolution whose filters are normalized by PyTorch's function for BatchNorm."""

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, len(self.weight), -1)
        return F.conv2d(x, F.batch_norm(rows, None, None, training=True, momentum=0.0).reshape_as(self.weight))


class Recomputing(nn.Sequential):
    """Its forward pass runs a second time during the backward pass."""

    def forward(self, x: Tensor) -> Any:
        return checkpoint(super().forward, x, use_reentrant=False)


class Operators(nn.Module):
    """The operator that graphs call once operations are decomposed."""

    mean: Tensor
    variance: Tensor

    def __init__(self, operator: Callable[..., Any]) -> None:
        super().__init__()
        self.operator = operator
        self.weight, self.bias = nn.Parameter(torch.linspace(0.5, 2, 6)), nn.Parameter(torch.linspace(-1, 1, 6))
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("variance", torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        outputs, mean, inverse = self.operator(x, self.weight, self.bias, self.mean, self.variance, True, 0.1, 1e-5)
        return outputs + (mean * inverse)[:, None, None].detach()


def exported() -> nn.Module:
    """A graph, as a network is cut whose code cannot be: it calls `aten.batch_norm`."""
    network = nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6))
    return assemble(export_program(network, torch.ones(2, 6, 5, 5)), network.state_dict()).train()


aten = torch.ops.aten
CASES = {
    "2d": Case(lambda: nn.BatchNorm2d(6)),
    "2d, channels last": Case(lambda: nn.BatchNorm2d(6), channels_last=True),
    "one image": Case(lambda: nn.BatchNorm1d(6), (6,), first=1),
    "no image": Case(lambda: nn.BatchNorm2d(6), first=0),
    "1d": Case(lambda: nn.BatchNorm1d(6), (6, 7)),
    "3d": Case(lambda: nn.BatchNorm3d(6), (6, 2, 3, 4)),
    "cumulative": Case(lambda: nn.BatchNorm2d(6, momentum=None)),
    "no coefficients": Case(lambda: nn.BatchNorm2d(6, affine=False)),
    "no running statistics": Case(lambda: nn.BatchNorm2d(6, track_running_stats=False)),
    "float64": Case(lambda: nn.BatchNorm2d(6).double(), dtype=torch.float64),
    "far from zero": Case(lambda: nn.BatchNorm2d(6), offset=100.0, tolerance=5e-5),
    "bf16": Case(lambda: nn.Sequential(nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.ReLU()), bf16=True, tolerance=2e-2),
    "layers": Case(lambda: nn.Sequential(nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.ReLU(True), nn.BatchNorm2d(6))),
    "frozen": Case(lambda: nn.Sequential(nn.BatchNorm2d(6), nn.BatchNorm2d(6).eval())),
    "recomputed": Case(lambda: Recomputing(nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.ReLU())),
    "standardized filters": Case(lambda: nn.Sequential(Standardized(6, 6, 3), nn.BatchNorm2d(6))),
    "exported": Case(exported),
    "native": Case(lambda: Operators(torch.native_batch_norm)),
    "legit": Case(lambda: Operators(aten._native_batch_norm_legit.default)),
}


def computed(case: Case, rows: slice, *, together: bool) -> dict[str, Tensor]:
    """Two steps on some of the images: outputs, gradients and buffers."""
    torch.manual_seed(0)
    network = case.network()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.5)
    images = torch.randn(2, IMAGES, *case.shape) * torch.linspace(0.5, 2, 6).reshape(6, *[1] * (len(case.shape) - 1))
    images = (images + case.offset).to(case.dtype)
    found: dict[str, Tensor] = {}
    for step, batch in enumerate(images):
        x = batch[rows].clone()
        x = x.to(memory_format=torch.channels_last).requires_grad_() if case.channels_last else x.requires_grad_()
        with synchronized(enabled=together):
            with autocast(x.device, enabled=case.bf16):
                outputs = network(x).to(case.dtype)
            upstream = torch.randn(IMAGES, *outputs.shape[1:], generator=torch.Generator().manual_seed(step))
            (outputs * upstream[rows]).sum().backward()
        assert x.grad is not None
        found |= {f"outputs {step}": outputs.detach().contiguous(), f"gradient {step}": x.grad.contiguous()}
    found |= {f"weight {name}": part.grad for name, part in network.named_parameters() if part.grad is not None}
    return found | {f"buffer {name}": part.clone() for name, part in network.named_buffers()}


def share(case: Case, rank: int) -> slice:
    """The images of a process."""
    return slice(0, case.first) if rank == 0 else slice(case.first, None)


def refused(rank: int) -> str:
    """What is said when all processes together have one value per channel."""
    with synchronized():
        try:
            nn.BatchNorm1d(6)(torch.ones(1 - rank, 6))
        except ValueError as error:
            return str(error)
    return ""


def main(out: Path) -> None:
    """Every process saves what it found."""
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    for name, case in CASES.items():
        save_file(computed(case, share(case, rank), together=True), out / f"{name}-{rank}.safetensors")
    (out / f"refused-{rank}").write_text(refused(rank))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
